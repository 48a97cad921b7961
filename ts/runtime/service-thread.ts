// SPDX-License-Identifier: Apache-2.0
// Entry of the worker thread that carries the node service of an embedded runtime.
//
// workerData is a ServiceConfig. Says {ready} or {failed}; hears {firstWorkerEnded}; ends on {stop} with {stopped}. It never uses console: a
// worker thread's console waits for the main loop, and user code may block that. Loads no gRPC.

import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../native/load.ts";
import type { ChildEnd } from "../node/child-end.ts";
import { publishSession } from "../node/session.ts";
import { serveMetrics } from "./serve-metrics.ts";
import { NodeService, type ServiceConfig } from "./service.ts";

const port = parentPort;
if (port === null) throw new Error("service-thread runs in a worker thread");
const config = workerData as ServiceConfig;

try {
  let service: NodeService | null = null;
  const metrics = await serveMetrics(config.metricsPort, () => service);
  const settled = { ...config, metricsPort: metrics?.port };
  const made = new NodeService(loadNative(), settled, () => port.close());
  service = made;
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
    metricsPort: metrics?.port,
  });
  port.on("message", (message: { stop?: true; firstWorkerEnded?: ChildEnd }) => {
    if (message.firstWorkerEnded !== undefined) made.firstWorkerEnded(message.firstWorkerEnded);
    if (message.stop !== true) return;
    metrics?.close();
    made.stop();
    port.postMessage({ stopped: true });
    port.close();
  });
  port.postMessage({ ready: true, metricsPort: metrics?.port ?? null });
} catch (error) {
  port.postMessage({ failed: error });
}
