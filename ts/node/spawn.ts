// SPDX-License-Identifier: Apache-2.0
// Starts worker processes when the raylet asks: Node processes directly, Python processes by a zygote's fork.
//
// Every worker is the leader of its own session (setsid), so its group can be ended with all that it started; the
// guardian gets the group through onStarted. Worker output goes to the log files of logs.ts. A worker that ends before
// it attached is a failed start: onFailed carries a typed code and the last lines that it wrote.
// Runs on the node service's thread. Owns the child processes and the zygotes.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../base/error-codes.ts";
import { PolyrayError } from "../base/errors.ts";
import { distFile } from "../base/package-root.ts";
import { version } from "../base/version.ts";
import type { WorkerKeyBase } from "../core/worker-key.ts";
import { workerEnvironment } from "../object/function/index.ts";
import type { Environments } from "./environments/prepare.ts";
import type { EnvironmentSpec, Prepared } from "./environments/spec.ts";
import type { LogSource, LogTailer } from "./logs.ts";
import { findPython } from "./python.ts";
import { type ForkedExit, Zygote } from "./zygote.ts";

/** What the raylet's `worker_needed` event says. */
export interface WorkerRequest {
  readonly startupToken: bigint;
  readonly language: "ts" | "py";
  readonly job: number;
  /** The worker key of docs/design/0001-core.md as JSON text. */
  readonly key: string;
}

/** What a worker key says, of a driver in either language. */
export interface WorkerKey
  extends Pick<WorkerKeyBase, "cwd" | "envVars" | "execArgv" | "sysPath" | "python" | "namespace"> {
  readonly language: "ts" | "py";
  readonly hash: string;
  /** The driver's job: whose terminal gets the lines. */
  readonly job?: number;
  readonly runtimeEnv?: EnvironmentSpec;
}

export interface WorkerExit {
  readonly pid: number;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly lastLines: readonly string[];
}

export interface SpawnerOptions {
  readonly socketName: string;
  readonly token: string;
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly address: string;
  readonly nodeId: string;
  readonly version: string;
  readonly logs: LogTailer;
  readonly environments: Environments;
  /** A start process that boots already. */
  readonly warmPython?: WarmPython | undefined;
  readonly onStarted: (startupToken: bigint, pid: number) => void;
  readonly onFailed: (startupToken: bigint, code: ErrorCode, message: string) => void;
  readonly onExit: (startupToken: bigint, exit: WorkerExit) => void;
}

interface Running {
  readonly request: WorkerRequest;
  readonly source: LogSource;
  pid: number;
}

const workerMain = distFile("worker", "main.js");

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

  async #start(request: WorkerRequest): Promise<void> {
    const key = JSON.parse(request.key) as WorkerKey;
    const source: LogSource = {
      token: request.startupToken,
      job: key.job ?? request.job,
      pid: 0,
      name: key.language,
    };
    const running: Running = { request, source, pid: 0 };
    this.#running.set(request.startupToken, running);
    const prepared = await this.#options.environments.prepare(key);
    if (this.#stopped) return;
    if (request.language === "py") await this.#forkPython(running, key, prepared);
    else this.#spawnNode(running, key, prepared);
  }

  #environment(request: WorkerRequest, key: WorkerKey): Record<string, string> {
    const o = this.#options;
    return {
      POLYRAY_SOCKET: o.socketName,
      POLYRAY_TOKEN: o.token,
      POLYRAY_STARTUP_TOKEN: String(request.startupToken),
      POLYRAY_SESSION_ID: `polyray-${o.sessionId}`,
      POLYRAY_SESSION_DIR: o.sessionDir,
      POLYRAY_ADDRESS: o.address,
      POLYRAY_NODE_ID: o.nodeId,
      POLYRAY_NAMESPACE: key.namespace,
      POLYRAY_JOB_CONFIG: request.key,
      POLYRAY_NODE: process.execPath,
      ...expanded(key.envVars),
    };
  }

  #spawnNode(running: Running, key: WorkerKey, prepared: Prepared): void {
    const { request } = running;
    const files = this.#options.logs.files(request.startupToken);
    const out = openSync(files.out, "a", 0o600);
    const err = openSync(files.err, "a", 0o600);
    const electron = process.versions.electron === undefined ? {} : { ELECTRON_RUN_AS_NODE: "1" };
    const executable = prepared.node.executable ?? process.execPath;
    const argv = [...key.execArgv, ...nodeFlags(prepared.node), workerMain];
    let child: ChildProcess;
    try {
      child = spawn(executable, argv, {
        cwd: key.cwd, // where --import and the like are looked for; the worker then goes to its own
        detached: true,
        stdio: ["ignore", out, err],
        env: {
          ...workerEnvironment(process.env),
          ...electron,
          ...placeEnvironment(prepared),
          ...this.#environment(request, key),
        },
      });
    } finally {
      closeSync(out);
      closeSync(err);
    }
    child.unref();
    child.once("error", (error) =>
      this.#ended(running, null, null, `cannot start ${executable}: ${error.message}`),
    );
    child.once("exit", (code, signal) => this.#ended(running, code, signal, null));
    if (child.pid !== undefined) this.#begun(running, child.pid);
  }

  async #forkPython(running: Running, key: WorkerKey, prepared: Prepared): Promise<void> {
    const files = this.#options.logs.files(running.request.startupToken);
    const env = this.#environment(running.request, key);
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
        this.#ended(running, exit.code, exit.signal, null);
        return;
      }
    }
  }

  #ended(running: Running, code: number | null, signal: string | null, why: string | null): void {
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

// "${PATH}:/mine" takes what is there; names that are not set vanish.
function expanded(vars: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(vars).map(([name, value]) => [
      name,
      value
        .replace(/\$(?:\{(\w+)\}|(\w+))/g, (all, a?: string, b?: string) => {
          return process.env[a ?? b ?? ""] ?? all;
        })
        .replace(/\$\{[A-Z0-9_]+\}/g, ""),
    ]),
  );
}

function nodeFlags(node: Prepared["node"]): string[] {
  const limits = node.resourceLimits ?? {};
  const flags = [...(node.execArgv ?? [])];
  if (limits.maxOldGenerationSizeMb !== undefined)
    flags.push(`--max-old-space-size=${limits.maxOldGenerationSizeMb}`);
  if (limits.maxYoungGenerationSizeMb !== undefined)
    flags.push(
      `--max-semi-space-size=${Math.max(1, Math.round(limits.maxYoungGenerationSizeMb / 3))}`,
    );
  if (limits.stackSizeMb !== undefined)
    flags.push(`--stack-size=${Math.round(limits.stackSizeMb * 1024)}`);
  return flags;
}

function placeEnvironment(prepared: Prepared): Record<string, string> {
  const folder = prepared.cwd === null ? {} : { POLYRAY_WORKING_DIR: prepared.cwd };
  if (prepared.nodeModules === null) return folder;
  const own = join(prepared.nodeModules, "node_modules");
  const others = process.env.NODE_PATH ?? "";
  return {
    ...folder,
    NODE_PATH: others === "" ? own : `${own}:${others}`,
    POLYRAY_NODE_MODULES: prepared.nodeModules,
  };
}
