// SPDX-License-Identifier: Apache-2.0
// Starts one Node process as a worker: its command line, environment and log files.
//
// Used by the spawner of the node service's thread, and by the main thread of an embedding driver for its first worker
// (ts/runtime/first-worker.ts). The process leads a session of its own, and from its start its environment carries the id
// by which the guardian finds it, whoever else is alive. Owns nothing: the caller reaps the child.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { distFile } from "../base/package-root.ts";
import type { WorkerKeyBase } from "../core/worker-key.ts";
import { workerEnvironment } from "../object/function/index.ts";
import type { EnvironmentSpec, Prepared } from "./environments/spec.ts";
import { logFiles } from "./logs.ts";

/** What a worker is to do, of which the raylet decides. */
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

/** The session that a worker joins. */
export interface WorkerPlace {
  readonly socketName: string;
  readonly token: string;
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly address: string;
  readonly nodeId: string;
}

const workerMain = distFile("worker", "main.js");

/** Variables by which a worker of either language finds its session. */
export function joinVariables(
  place: WorkerPlace,
  request: WorkerRequest,
  key: WorkerKey,
): Record<string, string> {
  return {
    POLYRAY_SOCKET: place.socketName,
    POLYRAY_TOKEN: place.token,
    POLYRAY_STARTUP_TOKEN: String(request.startupToken),
    POLYRAY_SESSION_ID: `polyray-${place.sessionId}`,
    POLYRAY_SESSION_DIR: place.sessionDir,
    POLYRAY_ADDRESS: place.address,
    POLYRAY_NODE_ID: place.nodeId,
    POLYRAY_NAMESPACE: key.namespace,
    POLYRAY_JOB_CONFIG: request.key,
    POLYRAY_NODE: process.execPath,
    ...expanded(key.envVars),
  };
}

/** The program that runs a Node worker. */
export function nodeProgram(prepared: Prepared): string {
  return prepared.node.executable ?? process.execPath;
}

/** Starts the process. What fails later comes by its events `error` and `exit`. Throws when its log files cannot be made. */
export function spawnNodeWorker(
  place: WorkerPlace,
  request: WorkerRequest,
  key: WorkerKey,
  prepared: Prepared,
): ChildProcess {
  const files = logFiles(join(place.sessionDir, "logs"), request.startupToken);
  const out = openSync(files.out, "a", 0o600);
  const err = openSync(files.err, "a", 0o600);
  const electron = process.versions.electron === undefined ? {} : { ELECTRON_RUN_AS_NODE: "1" };
  const argv = [...key.execArgv, ...nodeFlags(prepared.node), workerMain];
  try {
    const child = spawn(nodeProgram(prepared), argv, {
      cwd: key.cwd, // where --import and the like are looked for; the worker then goes to its own
      detached: true,
      stdio: ["ignore", out, err],
      env: {
        ...workerEnvironment(process.env),
        ...electron,
        ...placeEnvironment(prepared),
        ...joinVariables(place, request, key),
      },
    });
    child.unref();
    return child;
  } finally {
    closeSync(out);
    closeSync(err);
  }
}

/** Values may name what is there: "${PATH}:/mine" takes it; names that are not set vanish. */
export function expanded(vars: Readonly<Record<string, string>>): Record<string, string> {
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
