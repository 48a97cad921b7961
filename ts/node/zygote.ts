// SPDX-License-Identifier: Apache-2.0
// One warm Python process per interpreter (`python -m polyray.zygote`) that forks workers in milliseconds.
//
// JSON lines: in {"fork": {...}}; out {"ready"}, {"forked": {startupToken, pid}}, {"exited": {pid, code, signal}},
// {"failed": {startupToken, message}}. The zygote ends at end of file of its standard input, so it dies with us.
// Owned by the node service's thread.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { RuntimeEnvSetupError } from "../base/errors.ts";

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
  readonly ready?: true;
  readonly forked?: { readonly startupToken: number | string; readonly pid: number };
  readonly failed?: { readonly startupToken: number | string; readonly message: string };
  readonly exited?: ForkedExit;
}

interface Waiter {
  readonly resolve: (pid: number) => void;
  readonly reject: (error: Error) => void;
}

export class Zygote {
  readonly #python: string;
  readonly #sessionId: string;
  readonly #waiters = new Map<string, Waiter>();
  readonly #started: Promise<ChildProcessByStdio<Writable, Readable, Readable>>;
  readonly #onExit: (exit: ForkedExit) => void;
  #errors = "";
  closed = false;

  constructor(
    python: string,
    sessionId: string,
    checked: Promise<void>,
    onExit: (exit: ForkedExit) => void,
  ) {
    this.#python = python;
    this.#sessionId = sessionId;
    this.#onExit = onExit;
    this.#started = checked.then(() => this.#launch());
    this.#started.catch(() => {
      this.closed = true;
    });
  }

  /** Resolves when it can fork. */
  async ready(): Promise<void> {
    await this.#started;
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

  #launch(): Promise<ChildProcessByStdio<Writable, Readable, Readable>> {
    const child = spawn(this.#python, ["-m", "polyray.zygote"], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, POLYRAY_SESSION_ID: this.#sessionId },
    });
    child.unref();
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => {
        this.closed = true;
        reject(this.#ended());
        for (const waiter of this.#waiters.values()) waiter.reject(this.#ended());
        this.#waiters.clear();
      });
      child.stdin.on("error", () => undefined); // told by "exit"
      createInterface({ input: child.stdout }).on("line", (line) =>
        this.#said(line, () => resolve(child)),
      );
    });
  }

  #ended(): Error {
    const text = this.#errors.trim();
    return new RuntimeEnvSetupError(
      `[runtime env] the Python start process of ${this.#python} ended${text === "" ? "" : `: ${text.split("\n").slice(-3).join(" | ")}`}.`,
    );
  }

  #said(line: string, onReady: () => void): void {
    let said: Said;
    try {
      said = JSON.parse(line) as Said;
    } catch {
      this.#errors = `${this.#errors}${line}\n`.slice(-4000); // something printed: not ours
      return;
    }
    if (said.ready) onReady();
    if (said.forked) this.#take(said.forked.startupToken)?.resolve(said.forked.pid);
    if (said.failed) {
      this.#take(said.failed.startupToken)?.reject(
        new RuntimeEnvSetupError(`[runtime env] ${said.failed.message}`),
      );
    }
    if (said.exited) this.#onExit(said.exited);
  }

  #take(startupToken: number | string): Waiter | undefined {
    const key = String(startupToken);
    const waiter = this.#waiters.get(key);
    this.#waiters.delete(key);
    return waiter;
  }
}
