// SPDX-License-Identifier: Apache-2.0
// The first worker of an embedded runtime: its driver's main thread starts it, while the node service's thread still boots.
//
// The raylet is told before (`RayletOp.prestart`), so the process can attach and be given calls without the service.
// The service gets what it needs to know with its own start (`StartedWorker`) and goes on as if it had started
// the process; how the process ended comes after it by `onEnd`. Since this thread may be blocked then, the service also looks
// at the process until it has attached (Spawner.adopt); from then on the raylet sees its end.
// Only for jobs whose workers need no preparation. Runs on the driver's main thread.

import type { ChildProcess } from "node:child_process";
import { Language, type NativeBinding, RayletOp } from "../native/binding.ts";
import type { ChildEnd } from "../node/child-end.ts";
import { nothingPrepared } from "../node/environments/spec.ts";
import {
  nodeProgram,
  spawnNodeWorker,
  type WorkerKey,
  type WorkerPlace,
  type WorkerRequest,
} from "../node/node-worker.ts";
import type { StartedWorker } from "../node/spawn.ts";

/** The startup token that the raylet keeps for it (WorkerTable::kFirstToken). */
const firstToken = 1n;

/** A worker that runs before there is a service. */
export interface FirstWorker {
  readonly started: StartedWorker;
  /** Calls `run` when the process ended. */
  onEnd(run: (end: ChildEnd) => void): void;
}

/** Starts it for a job; null when the raylet cannot be told of it. The driver's environment must be attached. Never throws. */
export function startFirstWorker(
  native: NativeBinding,
  place: WorkerPlace,
  job: number,
  key: string,
): FirstWorker | null {
  const request: WorkerRequest = { startupToken: firstToken, language: "ts", job, key };
  const pool = BigInt(job) | (BigInt(Language.ts) << 32n);
  try {
    native.rayletCommand(RayletOp.prestart, pool, 0n, 0n, Buffer.from(key));
    native.flush();
  } catch {
    return null; // it keeps no token for it: the service starts the worker that the first call needs
  }
  let child: ChildProcess;
  try {
    child = spawnNodeWorker(place, request, JSON.parse(key) as WorkerKey, nothingPrepared);
  } catch (error) {
    return notStarted(request, (error as Error).message);
  }
  // Where it cannot be started, the event comes later: nothing more is said then than here.
  child.once("error", () => undefined);
  if (child.pid === undefined)
    return notStarted(request, `cannot start ${nodeProgram(nothingPrepared)}`);
  return {
    started: { request, pid: child.pid, why: null },
    onEnd: (run) =>
      void child.once("exit", (code, signal) => run({ exitCode: code, signal, why: null })),
  };
}

function notStarted(request: WorkerRequest, why: string): FirstWorker {
  return { started: { request, pid: 0, why }, onEnd: () => undefined };
}
