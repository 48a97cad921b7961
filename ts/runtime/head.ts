// SPDX-License-Identifier: Apache-2.0
// A node that is a process of its own: `polyray start --head`, or the runtime that a Python driver starts for itself.
//
// With `tcp` it listens for gRPC and its address is host:port; without it is `session:<id>`. With a lifeline descriptor it
// ends when that pipe ends (the driver is gone). SIGTERM and SIGINT end it in order. Prints nothing by itself.

import { createReadStream } from "node:fs";
import { version } from "../base/version.ts";
import { guardianPath, loadNative } from "../native/load.ts";
import { createSession, publishSession, removeSession } from "../node/session.ts";
import { type NodeOptions, nodeConfig } from "./config.ts";
import { NodeService, type ServiceConfig } from "./service.ts";

export interface HeadOptions extends NodeOptions {
  /** null: no TCP, this machine's user only. */
  readonly tcp: { readonly host: string; readonly port: number } | null;
  /** Read end of a pipe whose end of file ends the head. */
  readonly lifelineFd?: number | undefined;
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
  const native = loadNative();
  let session = createSession();
  let service: NodeService | null = null;
  let closeServer = (): void => undefined;
  let finish: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    closeServer();
    service?.stop();
    native.stopRaylet(stopGraceMs);
    removeSession(session.sessionDir);
    finish();
  };
  try {
    const socketName = native.startRaylet({
      sessionName: session.socketName,
      sessionToken: session.token,
      sessionDir: session.sessionDir,
      guardianPath: guardianPath(),
      nodeTag: 0,
      objectStoreBytes: node.objectStoreBytes,
      plasmaDirectory: node.plasmaDirectory,
      spillFolders: node.spillFolders,
      resources: node.resources,
      maxIdleWorkers: 0,
      workerStartLimit: 4,
    });
    session = { ...session, socketName };
    const config = (address: string): ServiceConfig => ({
      ...session,
      address,
      nodeId: session.sessionId.padEnd(56, "0"),
      namespace: options.namespace ?? "",
      version,
      resources: Object.fromEntries(
        Object.entries(node.resources).map(([name, amount]) => [name, amount / 10_000]),
      ),
      labels: node.labels,
    });
    let address = `session:${session.sessionId}`;
    if (options.tcp !== null) {
      const port = options.tcp.port === 0 ? await freePort(options.tcp.host) : options.tcp.port;
      address = `${options.tcp.host}:${port}`;
      service = new NodeService(native, config(address), stop);
      const { startGrpcServer } = await import("./grpc-server.ts"); // gRPC is not loaded without TCP
      const server = await startGrpcServer(options.tcp.host, port, startedAtMs, service);
      closeServer = server.close;
    } else service = new NodeService(native, config(address), stop);
    service.onStopRequest(stop);
    const settled = service.config;
    publishSession(session.sessionDir, {
      sessionId: session.sessionId,
      address,
      socketName: session.socketName,
      pid: process.pid,
      version,
      startedAtMs,
      nodeId: settled.nodeId,
      namespace: settled.namespace,
      embedded: options.tcp === null,
    });
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
    if (options.lifelineFd !== undefined) watchLifeline(options.lifelineFd, stop);
    return {
      address,
      sessionDir: session.sessionDir,
      socketName: session.socketName,
      token: session.token,
      nodeId: settled.nodeId,
      sessionId: session.sessionId,
      ended,
      stop,
    };
  } catch (error) {
    stop();
    throw error;
  }
}

function watchLifeline(fd: number, onEnd: () => void): void {
  const stream = createReadStream("", { fd, autoClose: false });
  stream.on("data", () => undefined);
  stream.on("end", onEnd);
  stream.on("error", onEnd);
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
