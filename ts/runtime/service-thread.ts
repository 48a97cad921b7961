// SPDX-License-Identifier: Apache-2.0
// Entry of the worker thread that carries the node service of an embedded runtime.
//
// workerData is a ServiceConfig. Says {ready} or {failed}; ends on {stop} with {stopped}. It never uses console: a
// worker thread's console waits for the main loop, and user code may block that. Loads no gRPC.

import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../native/load.ts";
import { publishSession } from "../node/session.ts";
import { NodeService, type ServiceConfig } from "./service.ts";

const port = parentPort;
if (port === null) throw new Error("service-thread runs in a worker thread");
const config = workerData as ServiceConfig;

try {
  const service = new NodeService(loadNative(), config, () => port.close());
  publishSession(config.sessionDir, {
    sessionId: config.sessionId,
    address: config.address,
    socketName: config.socketName,
    pid: process.pid,
    version: config.version,
    startedAtMs: Date.now(),
    nodeId: config.nodeId,
    namespace: config.namespace,
    embedded: true,
  });
  port.on("message", (message: { stop?: true }) => {
    if (message.stop !== true) return;
    service.stop();
    port.postMessage({ stopped: true });
    port.close();
  });
  port.postMessage({ ready: true });
} catch (error) {
  port.postMessage({ failed: error });
}
