// SPDX-License-Identifier: Apache-2.0
// An embedded runtime: raylet as a native thread of this process, node service and GCS in a worker thread.
//
// startEmbedded() starts the raylet, to which the driver attaches; serve() the job's first worker and the service's thread,
// which boot beside each other; `ready` settles when the service answers. The runtime ends by stop(), or with the process
// (the guardian sees the end of file of its pipe, whatever ended the process).
// One embedded runtime a process: a second start throws.

import { Worker } from "node:worker_threads";
import { SystemError } from "../base/errors.ts";
import { distFile } from "../base/package-root.ts";
import type { NativeBinding } from "../native/binding.ts";
import { loadNative } from "../native/load.ts";
import { createSession, type NewSession, removeSession } from "../node/session.ts";
import { type NodeOptions, nodeConfig } from "./config.ts";
import { startFirstWorker } from "./first-worker.ts";
import type { ServiceConfig } from "./service.ts";
import { serviceConfig, startNodeRaylet } from "./start-node.ts";

export interface EmbeddedRuntime
  extends Pick<
    ServiceConfig,
    "sessionId" | "sessionDir" | "socketName" | "token" | "address" | "nodeId" | "namespace"
  > {
  /** Settles when the node service answers requests, with the port of its metrics, or null. */
  readonly ready: Promise<number | null>;
  /** Ends workers and services and removes the session. Call it after the driver detached. */
  stop(): Promise<void>;
}

let running: EmbeddedRuntime | null = null;
const stopGraceMs = 500;

/** A node without its service. */
export interface EmbeddedNode {
  /** Where its driver attaches. */
  readonly place: Omit<EmbeddedRuntime, "ready" | "stop">;
  /**
   * Starts the service. `firstKey` is the key of the worker that starts at once, for the attached driver's job; null: none.
   * When it throws, the node still runs: `abandon` it.
   */
  serve(job: number, firstKey: string | null): EmbeddedRuntime;
  /** Ends a node that was not served, and a first worker of it. */
  abandon(): void;
}

/** Starts the raylet. Throws InvalidOptionError, SystemError, ObjectStoreFullError (no shared memory). */
export function startEmbedded(options: NodeOptions): EmbeddedNode {
  if (running !== null)
    throw new SystemError(
      "[system] this process already has an embedded runtime. Call shutdown() first.",
    );
  const node = nodeConfig(options);
  const native = loadNative();
  const made = createSession();
  let session: NewSession;
  try {
    session = startNodeRaylet(native, made, node);
  } catch (error) {
    removeSession(made.sessionDir);
    throw error;
  }
  const config = {
    ...serviceConfig(session, node, null, options.namespace),
    metricsPort: options.metricsPort,
  };
  const { address, nodeId, namespace } = config;
  const place = { ...session, address, nodeId, namespace };
  return {
    place,
    serve: (job, firstKey) => {
      const canRun = (config.resources.CPU ?? 0) > 0;
      const first =
        firstKey !== null && canRun ? startFirstWorker(native, place, job, firstKey) : null;
      const thread = startThread({ ...config, firstWorker: first?.started });
      first?.onEnd((firstWorkerEnded) => thread.postMessage({ firstWorkerEnded }));
      running = { ...place, ...served(native, thread, session) };
      return running;
    },
    abandon: () => {
      native.stopRaylet(stopGraceMs);
      removeSession(session.sessionDir);
    },
  };
}

function startThread(config: ServiceConfig): Worker {
  return new Worker(distFile("runtime", "service-thread.js"), {
    workerData: config,
    execArgv: [],
    trackUnmanagedFds: false,
  });
}

// The raylet ends with its thread, whichever way that ends.
function served(
  native: NativeBinding,
  thread: Worker,
  { sessionDir }: NewSession,
): Pick<EmbeddedRuntime, "ready" | "stop"> {
  let stopping = false;
  let ended = false;
  let rayletStopped = false;
  const exited = new Promise<void>((resolve) => {
    thread.once("exit", () => {
      ended = true;
      resolve();
      // Without its service a node places nothing: it ends, and its drivers are told, instead of waiting for ever.
      if (stopping || rayletStopped) return;
      rayletStopped = true;
      native.stopRaylet(stopGraceMs);
    });
  });
  return {
    ready: becomesReady(thread),
    stop: async () => {
      running = null;
      stopping = true;
      if (!ended) await stopThread(thread, exited);
      if (!ended) await thread.terminate();
      if (!rayletStopped) native.stopRaylet(stopGraceMs);
      rayletStopped = true;
      removeSession(sessionDir);
    },
  };
}

function becomesReady(thread: Worker): Promise<number | null> {
  return new Promise((resolve, reject) => {
    interface Message {
      ready?: true;
      metricsPort?: number | null;
      failed?: unknown;
    }
    const onMessage = (message: Message): void => {
      if (message.ready) {
        thread.unref();
        resolve(message.metricsPort ?? null);
      } else if (message.failed !== undefined) reject(message.failed as Error);
    };
    thread.once("message", onMessage);
    // Stays: an error after the start shows on stderr, and as the end of the node.
    thread.on("error", (error) => {
      process.stderr.write(`polyray: the node service failed: ${error.stack ?? error.message}\n`);
      reject(error);
    });
    thread.once("exit", (code) =>
      reject(new SystemError(`[system] the node service ended with code ${code}`)),
    );
  });
}

async function stopThread(thread: Worker, exited: Promise<void>): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    thread.on("message", (message: { stopped?: true }) => {
      if (message.stopped) resolve();
    });
  });
  thread.ref();
  thread.postMessage({ stop: true });
  await Promise.race([stopped, exited]);
}
