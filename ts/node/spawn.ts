// SPDX-License-Identifier: Apache-2.0
// Starts worker processes when the raylet asks: Node processes directly, Python processes by a zygote's fork.
//
// Every worker is the leader of its own session (setsid), so its group can be ended with all that it started; the
// guardian gets the group through onStarted. Worker output goes to the log files of logs.ts. A worker that ends before
// it attached is a failed start: onFailed carries a typed code and the last lines that it wrote.
// Runs on the node service's thread. Owns the child processes and the zygotes.

import type { ErrorCode } from "../base/error-codes.ts";
import { PolyrayError } from "../base/errors.ts";
import { version } from "../base/version.ts";
import { type ChildEnd, childEnd } from "./child-end.ts";
import type { Environments } from "./environments/prepare.ts";
import type { Prepared } from "./environments/spec.ts";
import type { LogSource, LogTailer } from "./logs.ts";
import {
  expanded,
  joinVariables,
  nodeProgram,
  spawnNodeWorker,
  type WorkerKey,
  type WorkerPlace,
  type WorkerRequest,
} from "./node-worker.ts";
import { findPython } from "./python.ts";
import { type ForkedExit, Zygote } from "./zygote.ts";

export interface WorkerExit {
  readonly pid: number;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly lastLines: readonly string[];
}

/** A worker that another thread of this process started; plain data. */
export interface StartedWorker {
  readonly request: WorkerRequest;
  readonly pid: number;
  /** Why it could not be started; null: it was. */
  readonly why: string | null;
}

export interface SpawnerOptions extends WorkerPlace {
  readonly version: string;
  readonly logs: LogTailer;
  readonly environments: Environments;
  /** A start process that boots already. */
  readonly warmPython?: WarmPython | undefined;
  /** Whether the process of a worker has attached. */
  readonly hasAttached: (pid: number) => boolean;
  readonly onStarted: (startupToken: bigint, pid: number) => void;
  readonly onFailed: (startupToken: bigint, code: ErrorCode, message: string) => void;
  readonly onExit: (startupToken: bigint, exit: WorkerExit) => void;
}

interface Running {
  readonly request: WorkerRequest;
  readonly source: LogSource;
  pid: number;
}

const watchMs = 25;
/** So often a reaped child is looked at before its end is told without its code: who reaped it tells that within this. */
const reapedLooks = 40;

export class Spawner {
  readonly #options: SpawnerOptions;
  readonly #running = new Map<bigint, Running>();
  readonly #zygotes = new Map<string, Zygote>();
  readonly #lastExits = new Map<bigint, WorkerExit>();
  #stopped = false;

  constructor(options: SpawnerOptions) {
    this.#options = options;
    const warm = options.warmPython;
    if (warm !== undefined) {
      warm.zygote.onExit = (exit) => this.#forkedExit(exit);
      this.#zygotes.set(warm.name, warm.zygote);
    }
  }

  /** Starts one worker; the outcome comes by the callbacks. Never throws. */
  start(request: WorkerRequest): void {
    this.#start(request).catch((error: unknown) => {
      this.#running.delete(request.startupToken);
      const code = error instanceof PolyrayError ? error.code : "RUNTIME_ENV_SETUP";
      this.#options.onFailed(request.startupToken, code, (error as Error).message);
    });
  }

  /**
   * Takes over a Node worker that another thread started, or could not start. Its end comes by `ended`, from that thread or
   * of the raylet, which knows it as soon as it attached; until then it is watched here too, since that thread may be blocked.
   */
  adopt({ request, pid, why }: StartedWorker): void {
    const running = this.#expect(request, JSON.parse(request.key) as WorkerKey);
    if (why === null) {
      this.#begun(running, pid);
      this.#watchStart(running);
    } else this.#ended(running, { exitCode: null, signal: null, why });
  }

  /** Somebody else saw how a worker ended; who comes second is not heard. */
  ended(startupToken: bigint, end: ChildEnd): void {
    const running = this.#running.get(startupToken);
    if (running !== undefined) this.#ended(running, end);
  }

  /** Name and pid shown before a worker's lines. */
  source(startupToken: bigint): LogSource | null {
    return this.#running.get(startupToken)?.source ?? null;
  }

  /** How a worker ended, when it is known (the last 200 are). */
  lastExit(startupToken: bigint): WorkerExit | null {
    return this.#lastExits.get(startupToken) ?? null;
  }

  stop(): void {
    this.#stopped = true;
    for (const zygote of this.#zygotes.values()) zygote.close();
    this.#zygotes.clear();
  }

  #expect(request: WorkerRequest, key: WorkerKey): Running {
    const { startupToken: token, job } = request;
    const source: LogSource = { token, job: key.job ?? job, pid: 0, name: key.language };
    const running: Running = { request, source, pid: 0 };
    this.#running.set(token, running);
    return running;
  }

  async #start(request: WorkerRequest): Promise<void> {
    const key = JSON.parse(request.key) as WorkerKey;
    const running = this.#expect(request, key);
    const prepared = await this.#options.environments.prepare(key);
    if (this.#stopped) return;
    if (request.language === "py") await this.#forkPython(running, key, prepared);
    else this.#spawnNode(running, key, prepared);
  }

  #spawnNode(running: Running, key: WorkerKey, prepared: Prepared): void {
    const child = spawnNodeWorker(this.#options, running.request, key, prepared);
    child.once("error", (error) =>
      this.#ended(running, {
        exitCode: null,
        signal: null,
        why: `cannot start ${nodeProgram(prepared)}: ${error.message}`,
      }),
    );
    child.once("exit", (exitCode, signal) => this.#ended(running, { exitCode, signal, why: null }));
    if (child.pid !== undefined) this.#begun(running, child.pid);
  }

  async #forkPython(running: Running, key: WorkerKey, prepared: Prepared): Promise<void> {
    const files = this.#options.logs.files(running.request.startupToken);
    const env = joinVariables(this.#options, running.request, key);
    const path = [...prepared.sysPath, env.PYTHONPATH ?? process.env.PYTHONPATH ?? ""];
    const pid = await this.#zygote(key, prepared).fork({
      startupToken: String(running.request.startupToken),
      env: {
        ...env,
        ...(prepared.sysPath.length === 0 ? {} : { PYTHONPATH: path.filter(Boolean).join(":") }),
      },
      cwd: prepared.cwd ?? key.cwd,
      stdout: files.out,
      stderr: files.err,
      sysPath: [
        ...prepared.sysPath,
        ...(key.envVars.PYTHONPATH ?? "").split(":").filter(Boolean),
        ...key.sysPath,
      ],
    });
    this.#begun(running, pid);
  }

  #begun(running: Running, pid: number): void {
    running.pid = pid;
    (running.source as { pid: number }).pid = pid;
    this.#options.logs.add(running.source);
    this.#options.onStarted(running.request.startupToken, pid);
  }

  #watchStart(running: Running): void {
    const { startupToken } = running.request;
    let looks = reapedLooks;
    const timer = setInterval(() => {
      const starts = this.#running.get(startupToken) === running && !this.#stopped;
      if (!starts || this.#options.hasAttached(running.pid)) {
        clearInterval(timer);
        return;
      }
      const end = childEnd(running.pid);
      if (end === "runs") return;
      if (end !== "reaped") this.#ended(running, end);
      else if (--looks === 0)
        this.#ended(running, { exitCode: null, signal: null, why: "its process ended" });
    }, watchMs).unref();
  }

  #zygote(key: WorkerKey, prepared: Prepared): Zygote {
    const command = prepared.python ?? [key.python || findPython(key.cwd)];
    const env = startVariables(key.envVars);
    const name = zygoteName(command, env);
    let zygote = this.#zygotes.get(name);
    if (zygote === undefined || zygote.closed) {
      zygote = newZygote(command, env, this.#options.sessionId);
      zygote.onExit = (exit) => this.#forkedExit(exit);
      this.#zygotes.set(name, zygote);
    }
    return zygote;
  }

  #forkedExit(exit: ForkedExit): void {
    for (const running of this.#running.values()) {
      if (running.pid === exit.pid && running.request.language === "py") {
        this.#ended(running, { exitCode: exit.code, signal: exit.signal, why: null });
        return;
      }
    }
  }

  #ended(running: Running, { exitCode: code, signal, why }: ChildEnd): void {
    const token = running.request.startupToken;
    if (!this.#running.delete(token) || this.#stopped) return;
    const lastLines = this.#options.logs.remove(token);
    // The raylet knows whether it had attached; then this is not a failed start and it ignores the message.
    const how =
      why ?? (signal === null ? `it exited with code ${code}` : `it was killed by ${signal}`);
    const said = lastLines.length === 0 ? "" : ` It wrote: ${lastLines.join(" | ")}`;
    this.#options.onFailed(
      token,
      "RUNTIME_ENV_SETUP",
      `[runtime env] a ${running.request.language} worker did not start: ${how}.${said}`,
    );
    const exit: WorkerExit = { pid: running.pid, exitCode: code, signal, lastLines };
    this.#lastExits.set(token, exit);
    for (const old of this.#lastExits.keys()) {
      if (this.#lastExits.size <= 200) break;
      this.#lastExits.delete(old);
    }
    this.#options.onExit(token, exit);
  }
}

// Variables that are read when Python starts: a fork of a process that started without them would not have them.
/** A start process of Python that was begun before there is a spawner to use it. */
export interface WarmPython {
  readonly name: string;
  readonly zygote: Zygote;
}

/** Begins to boot the start process of a Python with no variables of its own. */
export function warmPython(program: string, sessionId: string): WarmPython {
  return { name: zygoteName([program], {}), zygote: newZygote([program], {}, sessionId) };
}

function zygoteName(command: readonly string[], env: Readonly<Record<string, string>>): string {
  return JSON.stringify([command, env]);
}

function newZygote(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  sessionId: string,
): Zygote {
  return new Zygote({
    command,
    env: { ...env, POLYRAY_VERSION: version },
    sessionId: `polyray-${sessionId}`,
    version,
  });
}

function startVariables(vars: Readonly<Record<string, string>>): Record<string, string> {
  const matter = Object.entries(expanded(vars)).filter(([name]) =>
    /^(LD_|MALLOC_|PYTHON(?!PATH$))/.test(name),
  );
  return Object.fromEntries(matter.sort(([a], [b]) => (a < b ? -1 : 1)));
}
