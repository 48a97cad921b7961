// SPDX-License-Identifier: Apache-2.0
// One warm Python process per interpreter (polyray/zygote.py) that forks workers in milliseconds.
//
// JSON lines: in {"fork": {...}} on its standard input; out, on descriptor 3, {"ready": {python, polyray, error}},
// {"forked": {startupToken, pid}}, {"exited": {pid, code, signal}}, {"failed": {startupToken, message}}. Whatever a
// sitecustomize prints goes to standard output and error, which are kept for error texts. The first line also says
// whether this Python can be a worker at all (python.ts judges it), so that one start of Python suffices.
// The zygote ends at end of file of its standard input, so it dies with us. Owned by the node service's thread.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { RuntimeEnvSetupError } from "../base/errors.ts";
import { judgePython, notRunnable, type PythonFound, startProgram } from "./python.ts";

export interface ForkOrder {
  readonly startupToken: string;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly sysPath: readonly string[];
}

export interface ForkedExit {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: string | null;
}

interface Said {
  readonly ready?: PythonFound;
  readonly forked?: { readonly startupToken: number | string; readonly pid: number };
  readonly failed?: { readonly startupToken: number | string; readonly message: string };
  readonly exited?: ForkedExit;
}

interface Waiter {
  readonly resolve: (pid: number) => void;
  readonly reject: (error: Error) => void;
}

export interface ZygoteOptions {
  /** The interpreter and arguments before the program, such as ["uv", "run", "python"]. */
  readonly command: readonly string[];
  /** Variables that matter when a Python starts (PYTHONPATH, LD_LIBRARY_PATH, ...), over this process's own. */
  readonly env: Readonly<Record<string, string>>;
  readonly sessionId: string;
  readonly version: string;
}

export class Zygote {
  readonly #options: ZygoteOptions;
  readonly #waiters = new Map<string, Waiter>();
  readonly #started: Promise<ChildProcess & { stdin: Writable }>;
  #printed = "";
  /** Told of each worker that ended. */
  onExit: (exit: ForkedExit) => void = () => undefined;
  closed = false;

  constructor(options: ZygoteOptions) {
    this.#options = options;
    this.#started = this.#launch();
    this.#started.catch(() => {
      this.closed = true;
    });
  }

  /** Forks a worker; resolves with its pid. */
  async fork(order: ForkOrder): Promise<number> {
    const child = await this.#started;
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(this.#ended());
        return;
      }
      this.#waiters.set(order.startupToken, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ fork: order })}\n`);
    });
  }

  close(): void {
    this.closed = true;
    void this.#started.then((child) => child.stdin.end()).catch(() => undefined);
  }

  #launch(): Promise<ChildProcess & { stdin: Writable }> {
    const [program = "python3", ...before] = this.#options.command;
    const child = spawn(program, [...before, "-c", startProgram, "polyray.zygote"], {
      stdio: ["pipe", "pipe", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, ...this.#options.env, POLYRAY_SESSION_ID: this.#options.sessionId },
    }) as ChildProcess & { stdin: Writable; stdout: Readable; stderr: Readable };
    child.unref();
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        this.#printed = (this.#printed + text).slice(-4000);
      });
    }
    return new Promise((resolve, reject) => {
      child.once("error", (error) => reject(notRunnable(program, error.message)));
      child.once("close", () => {
        this.closed = true;
        reject(notRunnable(program, this.#printed));
        for (const waiter of this.#waiters.values()) waiter.reject(this.#ended());
        this.#waiters.clear();
      });
      child.stdin.on("error", () => undefined); // told by "close"
      createInterface({ input: child.stdio[3] as Readable }).on("line", (line) =>
        this.#said(line, (found) => {
          const wrong = judgePython(program, found, this.#options.version);
          if (wrong === null) resolve(child);
          else reject(wrong);
        }),
      );
    });
  }

  #ended(): Error {
    const text = this.#printed.trim();
    return new RuntimeEnvSetupError(
      `[runtime env] the Python start process of ${this.#options.command[0]} ended${text === "" ? "" : `: ${text.split("\n").slice(-3).join(" | ")}`}.`,
    );
  }

  #said(line: string, onReady: (found: PythonFound) => void): void {
    let said: Said;
    try {
      said = JSON.parse(line) as Said;
    } catch {
      this.#printed = `${this.#printed}${line}\n`.slice(-4000); // something wrote there: not ours
      return;
    }
    if (said.ready) onReady(said.ready);
    if (said.forked) this.#take(said.forked.startupToken)?.resolve(said.forked.pid);
    if (said.failed) {
      this.#take(said.failed.startupToken)?.reject(
        new RuntimeEnvSetupError(`[runtime env] ${said.failed.message}`),
      );
    }
    if (said.exited) this.onExit(said.exited);
  }

  #take(startupToken: number | string): Waiter | undefined {
    const key = String(startupToken);
    const waiter = this.#waiters.get(key);
    this.#waiters.delete(key);
    return waiter;
  }
}
