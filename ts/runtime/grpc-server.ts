// SPDX-License-Identifier: Apache-2.0
// The gRPC face of a started head: GcsService over the same NodeService that answers the rings.
// Loopback unless told otherwise; every call needs the session's token.

import { Server, ServerCredentials } from "@grpc/grpc-js";
import { SystemError } from "../base/errors.ts";
import {
  GcsService,
  GetStatusRequestSchema,
  GetStatusResponseSchema,
  ListActorsRequestSchema,
  ListActorsResponseSchema,
  ListJobsRequestSchema,
  ListJobsResponseSchema,
  StopRequestSchema,
  StopResponseSchema,
} from "../wire/gen/v1/gcs_pb.ts";
import { serviceDefinition, unary } from "../wire/grpc.ts";
import type { NodeService } from "./service.ts";

export interface GrpcServer {
  readonly port: number;
  close(): void;
}

/** Listens on host:port (0: any). Rejects with SystemError when the port is taken. */
export async function startGrpcServer(
  host: string,
  port: number,
  startedAtMs: number,
  service: NodeService,
): Promise<GrpcServer> {
  const server = new Server();
  const { token, sessionId, version } = service.config;
  let address = "";
  server.addService(serviceDefinition(GcsService), {
    getStatus: unary(GetStatusRequestSchema, GetStatusResponseSchema, token, () =>
      statusOf(service, address, sessionId, version, startedAtMs),
    ),
    listActors: unary(ListActorsRequestSchema, ListActorsResponseSchema, token, () => ({
      actors: [...service.gcs.state.actors.values()].map((row) => ({
        actorId: row.spec.actor,
        className: row.spec.handle.className,
        language: row.spec.handle.language,
        name: row.spec.handle.name ?? "",
        namespace: row.spec.namespace,
        job: row.job,
        phase: row.phase,
        restarts: row.restarts,
        death: row.death?.reason ?? "",
      })),
    })),
    listJobs: unary(ListJobsRequestSchema, ListJobsResponseSchema, token, () => ({
      jobs: [...service.gcs.state.jobs.values()].map((row) => ({
        job: row.job,
        pid: row.pid,
        language: row.language,
        namespace: row.namespace,
        entrypoint: row.entrypoint,
        startedAtMs: BigInt(row.startedAtMs),
        endedAtMs: BigInt(row.endedAtMs ?? 0),
      })),
    })),
    stop: unary(StopRequestSchema, StopResponseSchema, token, () => {
      service.handle("session.stop", {}, 0n);
      return {};
    }),
  });
  const bound = await bind(server, host, port);
  address = `${host}:${bound}`;
  return { port: bound, close: () => server.forceShutdown() };
}

function bind(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else {
        reject(
          new SystemError(
            `[system] cannot listen on ${host}:${port}: ${error.message}. Another head may use the port: \`polyray status\`, \`polyray stop\`, or --port.`,
            { cause: error },
          ),
        );
      }
    });
  });
}

function statusOf(
  service: NodeService,
  address: string,
  sessionId: string,
  version: string,
  startedAtMs: number,
) {
  const { stats, total, available } = service.handle("store.stats", {}, 0n) as {
    stats: Record<string, number>;
    total: Record<string, number>;
    available: Record<string, number>;
  };
  const count = (name: string): number => stats[name] ?? 0;
  return {
    address,
    sessionId,
    version,
    startedAtMs: BigInt(startedAtMs),
    nodes: [...service.gcs.state.nodes.values()].map((row) => ({
      nodeId: row.nodeId,
      address: row.address,
      hostname: row.hostname,
      alive: row.alive,
      resources: { amounts: { ...row.resources } },
      labels: { ...row.labels },
    })),
    total: { amounts: total },
    available: { amounts: available },
    counters: {
      storeUsedBytes: BigInt(count("storeUsedBytes")),
      storeCapacityBytes: BigInt(count("storeCapacityBytes")),
      objects: BigInt(count("objects")),
      endpoints: count("endpoints"),
      workers: count("workers"),
      idleWorkers: count("idleWorkers"),
      startingWorkers: count("startingWorkers"),
      queuedLeases: count("queuedLeases"),
      activeLeases: count("activeLeases"),
      bellsReceived: BigInt(count("bellsReceived")),
      recordsHandled: BigInt(count("recordsHandled")),
    },
  };
}
