// SPDX-License-Identifier: Apache-2.0
// An embedded runtime: raylet as a native thread of this process, node service and GCS in a worker thread.
//
// startEmbedded() returns as soon as a driver can attach; `ready` settles when the service answers. The runtime ends by
// stop(), or with the process (the guardian sees the end of file of its pipe, whatever ended the process).
// One embedded runtime a process: a second start throws.

import { Worker } from "node:worker_threads";
import { SystemError } from "../base/errors.ts";
import { distFile } from "../base/package-root.ts";
import { loadNative } from "../native/load.ts";
import { createSession, type NewSession, removeSession } from "../node/session.ts";
import { type NodeOptions, nodeConfig } from "./config.ts";
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

/** Starts a node in this process. Throws InvalidOptionError, SystemError, ObjectStoreFullError (no shared memory). */
export function startEmbedded(options: NodeOptions): EmbeddedRuntime {
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
  const thread = new Worker(distFile("runtime", "service-thread.js"), {
    workerData: config,
    execArgv: [],
    trackUnmanagedFds: false,
  });
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
  const runtime: EmbeddedRuntime = {
    ...session,
    address: config.address,
    nodeId: config.nodeId,
    namespace: config.namespace,
    ready: becomesReady(thread),
    stop: async () => {
      running = null;
      stopping = true;
      if (!ended) await stopThread(thread, exited);
      if (!ended) await thread.terminate();
      if (!rayletStopped) native.stopRaylet(stopGraceMs);
      rayletStopped = true;
      removeSession(session.sessionDir);
    },
  };
  running = runtime;
  return runtime;
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
