// SPDX-License-Identifier: Apache-2.0
// Glue between protobuf-es messages and grpc-js services: definitions for server and client from one generated service.
//
// grpc-js was taken because it is plain JavaScript without install scripts and takes the server's connections from us;
// protobuf-es because its generated code needs no protobufjs. Nothing on the embedded path imports this file.

import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import { RpcError, VersionMismatchError } from "../base/errors.ts";
import { version } from "../base/version.ts";

/** Protocol versions that this package speaks (docs/protocol/versioning.md). */
export const protocol = { min: 1, max: 1 } as const;

type AnyMessage = MessageShape<DescMessage>;

function definition(
  service: DescService,
  method: DescMethod,
): MethodDefinition<AnyMessage, AnyMessage> {
  return {
    path: `/${service.typeName}/${method.name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/** The grpc-js definition of a generated service (unary methods). */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [method.localName, definition(service, method)]),
  );
}

/** A unary handler from a plain function; it fails with the status the error maps to. */
export function unary<I extends DescMessage, O extends DescMessage>(
  _input: I,
  output: O,
  token: string,
  run: (request: MessageShape<I>) => MessageInitShape<O> | Promise<MessageInitShape<O>>,
): handleUnaryCall<MessageShape<I>, MessageShape<O>> {
  return (call, callback) => {
    const given = String(call.metadata.get("authorization")[0] ?? "");
    if (!sameText(given, `Bearer ${token}`)) {
      callback({
        code: status.UNAUTHENTICATED,
        details: "the token is missing or wrong: it is in the session folder, or set POLYRAY_TOKEN",
      });
      return;
    }
    const refusal = refusalOf(call.request);
    if (refusal !== null) {
      callback({ code: status.FAILED_PRECONDITION, details: refusal });
      return;
    }
    Promise.resolve()
      .then(() => run(call.request))
      .then((answer) => callback(null, create(output, answer) as MessageShape<O>))
      .catch((error: Error) => callback({ code: status.INTERNAL, details: error.message }));
  };
}

// What to tell a caller that speaks no protocol version of ours; null when one is shared. A caller that says none passes.
function refusalOf(request: object): string | null {
  const { caller } = request as {
    caller?: { version: string; protocolMin: number; protocolMax: number };
  };
  if (caller === undefined || caller.protocolMax === 0) return null;
  if (caller.protocolMin <= protocol.max && caller.protocolMax >= protocol.min) return null;
  return (
    `the caller is polyray ${caller.version} and speaks protocol ${caller.protocolMin} to ${caller.protocolMax}; ` +
    `this head is polyray ${version} and speaks ${protocol.min} to ${protocol.max}. Install the same version on both sides.`
  );
}

// Constant time for equal lengths: the token is the only secret here.
function sameText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

/**
 * One call of a unary method. Rejects with RpcError naming address and method, or VersionMismatchError when the
 * other side shares no protocol version.
 */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  address: string,
  service: DescService,
  method: DescMethod & { input: I; output: O },
  token: string,
  request: MessageInitShape<I>,
  timeoutMs: number,
): Promise<MessageShape<O>> {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const d = definition(service, method);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      d.path,
      d.requestSerialize,
      d.responseDeserialize,
      create(method.input, request),
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, answer) => {
        if (error?.code === status.FAILED_PRECONDITION)
          reject(new VersionMismatchError(`[version mismatch] ${error.details}`, { cause: error }));
        else if (error !== null)
          reject(
            new RpcError(
              `[rpc] ${method.name} at ${address} failed: ${error.details || error.message}`,
              { cause: error },
            ),
          );
        else resolve(answer as MessageShape<O>);
      },
    );
  });
}

/** A client connection without TLS (loopback). */
export function openClient(address: string): Client {
  return new Client(address, credentials.createInsecure());
}
