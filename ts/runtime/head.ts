// SPDX-License-Identifier: Apache-2.0
// A node that is a process of its own: `polyray start --head`, or the runtime that a Python driver starts for itself.
//
// With `tcp` it listens for gRPC and its address is host:port; without it is `session:<id>`. With a lifeline descriptor it
// ends when that pipe ends (the driver is gone). SIGTERM and SIGINT end it in order. Prints nothing by itself.

import { createReadStream, fstatSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { version } from "../base/version.ts";
import type { TracingOptions } from "../core/tracing.ts";
import type { NativeBinding } from "../native/binding.ts";
import { loadNative } from "../native/load.ts";
import { createSession, publishSession, removeSession } from "../node/session.ts";
import { type WarmPython, warmPython } from "../node/spawn.ts";
import { type NodeOptions, nodeConfig } from "./config.ts";
import { serveMetrics } from "./serve-metrics.ts";
import { NodeService } from "./service.ts";
import { serviceConfig, startNodeRaylet } from "./start-node.ts";

export interface HeadOptions extends NodeOptions {
  /** null: no TCP, this machine's user only. */
  readonly tcp: { readonly host: string; readonly port: number } | null;
  /** The Python of the driver that starts this: its start process boots beside this node. */
  readonly python?: string | undefined;
  /** Read end of a pipe whose end of file ends the head. */
  readonly lifelineFd?: number | undefined;
  /** What drivers that join do unless they say otherwise. */
  readonly tracing?: TracingOptions | undefined;
}

export interface Head {
  readonly address: string;
  readonly sessionDir: string;
  readonly socketName: string;
  readonly token: string;
  readonly nodeId: string;
  readonly sessionId: string;
  /** Resolves when the head has ended and nothing of it is left. */
  readonly ended: Promise<void>;
  stop(): void;
}

const stopGraceMs = 2000;

/** Starts the node in this process. */
export async function startHead(options: HeadOptions): Promise<Head> {
  const startedAtMs = Date.now();
  const node = nodeConfig(options);
  let session = createSession();
  let python: WarmPython | undefined;
  let native: NativeBinding | null = null;
  let service: NodeService | null = null;
  let closeServer = (): void => undefined;
  let closeMetrics = (): void => undefined;
  let finish: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    closeServer();
    closeMetrics();
    service?.stop();
    python?.zygote.close();
    native?.stopRaylet(stopGraceMs);
    removeSession(session.sessionDir);
    finish();
  };
  try {
    if (options.python !== undefined && (node.resources.CPU ?? 0) > 0)
      python = warmPython(options.python, session.sessionId);
    native = loadNative();
    session = startNodeRaylet(native, session, node);
    const tcp = options.tcp === null ? null : await listeningPlace(options.tcp);
    const metrics = await serveMetrics(options.metricsPort, () => service);
    if (metrics !== null) closeMetrics = metrics.close;
    const config = {
      ...serviceConfig(session, node, tcp && `${tcp.host}:${tcp.port}`, options.namespace),
      metricsPort: metrics?.port,
      tracing: options.tracing,
    };
    service = new NodeService(native, config, stop, python);
    if (tcp !== null) {
      const { startGrpcServer } = await import("./grpc-server.ts"); // gRPC is not loaded without TCP
      const server = await startGrpcServer(tcp.host, tcp.port, startedAtMs, service);
      closeServer = server.close;
    }
    service.onStopRequest(stop);
    publishSession(session.sessionDir, {
      sessionId: session.sessionId,
      address: config.address,
      socketName: session.socketName,
      pid: process.pid,
      version,
      startedAtMs,
      nodeId: config.nodeId,
      namespace: config.namespace,
      embedded: options.tcp === null,
      metricsPort: metrics?.port,
    });
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
    if (options.lifelineFd !== undefined) watchLifeline(options.lifelineFd, stop);
    return {
      address: config.address,
      sessionDir: session.sessionDir,
      socketName: session.socketName,
      token: session.token,
      nodeId: config.nodeId,
      sessionId: session.sessionId,
      ended,
      stop,
    };
  } catch (error) {
    stop();
    throw error;
  }
}

// A read that blocks in a thread of the pool would hold up the end of this process: pipes and sockets are watched by the
// event loop.
function watchLifeline(fd: number, onEnd: () => void): void {
  const info = fstatSync(fd);
  const stream: Readable =
    info.isFIFO() || info.isSocket()
      ? new Socket({ fd, readable: true, writable: false })
      : createReadStream("", { fd, autoClose: false });
  stream.on("data", () => undefined);
  stream.on("end", onEnd);
  stream.on("error", onEnd);
}

type Place = NonNullable<HeadOptions["tcp"]>;

async function listeningPlace({ host, port }: Place): Promise<Place> {
  return { host, port: port === 0 ? await freePort(host) : port };
}

async function freePort(host: string): Promise<number> {
  const { createServer } = await import("node:net");
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, host, () => {
      const address = probe.address();
      probe.close(() =>
        resolve(typeof address === "object" && address !== null ? address.port : 0),
      );
    });
  });
}
