// SPDX-License-Identifier: Apache-2.0
// Goal: the gRPC face refuses a wrong token and a caller of another protocol, says why, and answers everybody else.
// Method: a real grpc-js server with the generated service and our handlers, on loopback.

import { Server, ServerCredentials } from "@grpc/grpc-js";
import t from "tap";
import { PolyrayError, RpcError, VersionMismatchError } from "../../../ts/base/errors.ts";
import {
  GcsService,
  ListJobsRequestSchema,
  ListJobsResponseSchema,
} from "../../../ts/wire/gen/v1/gcs_pb.ts";
import {
  callUnary,
  openClient,
  protocol,
  serviceDefinition,
  unary,
} from "../../../ts/wire/grpc.ts";

const token = "a".repeat(32);
const server = new Server();
const { listJobs } = serviceDefinition(GcsService);
if (listJobs === undefined) throw new Error("the generated service has no listJobs");
server.addService(
  { listJobs },
  {
    listJobs: unary(ListJobsRequestSchema, ListJobsResponseSchema, token, () => ({
      jobs: [{ job: 7, pid: 1, language: "ts" }],
    })),
  },
);
const port = await new Promise<number>((resolve, reject) =>
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  ),
);
const address = `127.0.0.1:${port}`;
const client = openClient(address);
t.teardown(() => {
  client.close();
  server.forceShutdown();
});

const ask = (
  given: string,
  caller?: { version: string; protocolMin: number; protocolMax: number },
) =>
  callUnary(
    client,
    address,
    GcsService,
    GcsService.method.listJobs,
    given,
    caller === undefined ? {} : { caller },
    5000,
  );

t.test("the right token and a shared protocol are answered", async (t) => {
  const current = { version: "0.1.0", protocolMin: protocol.min, protocolMax: protocol.max };
  const newer = { version: "9.0.0", protocolMin: protocol.min, protocolMax: protocol.max + 5 };
  for (const caller of [undefined, current, newer])
    t.equal((await ask(token, caller)).jobs[0]?.job, 7);
});

t.test("a wrong or empty token is an RpcError that says where the token is", async (t) => {
  for (const wrong of ["", "b".repeat(32), token.slice(1)]) {
    const error = await ask(wrong).catch((caught: unknown) => caught);
    t.ok(error instanceof RpcError);
    t.match((error as Error).message, /token is missing or wrong.*POLYRAY_TOKEN/);
  }
});

t.test("a caller without a common protocol gets VersionMismatchError naming both", async (t) => {
  const later = protocol.max + 1;
  const error = await ask(token, {
    version: "9.9.9",
    protocolMin: later,
    protocolMax: later,
  }).catch((caught: unknown) => caught);
  t.ok(error instanceof VersionMismatchError && error instanceof PolyrayError);
  t.match(
    (error as Error).message,
    new RegExp(`polyray 9\\.9\\.9 and speaks protocol ${later} to ${later}; this head`),
  );
});
