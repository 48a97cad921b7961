// SPDX-License-Identifier: Apache-2.0
// The door of the value model: values, argument lists and errors to envelopes and back.
// Everything here is synchronous and touches no store; the caller copies envelopes to where they live.

import { makeError, type PolyrayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { corrupt, type Encoded, flagError, type InPlace, readHeader } from "./envelope.ts";
import { Decoder } from "./serialize-decode.ts";
import { type Encoder, encodeRoot, takeEncoder } from "./serialize-encode.ts";
import { type TaskWhere, taskErrorOf } from "./serialize-error.ts";
import { isPlainObject } from "./serialize-path.ts";
import type { DecodeContext, EncodeContext } from "./values.ts";

export { ArrowValue, arrowLibrary, loadArrow, useArrowLibrary } from "./arrow.ts";
export { type Codec, encodeSymbol, registerCodec } from "./codecs.ts";
export {
  Encoded,
  envelopeArgRefs,
  envelopeRefs,
  hasArrow,
  InPlace,
  isErrorEnvelope,
} from "./envelope.ts";
export { encodePassing } from "./serialize-encode.ts";
export { type TaskWhere, taskErrorOf } from "./serialize-error.ts";
export {
  CodecValue,
  Complex,
  type DecodeContext,
  type ElementArray,
  type EncodeContext,
  type HandleForm,
  NdArray,
  PyObject,
} from "./values.ts";

/** A context for plain data: no refs, handles or functions. */
export const plainContext: EncodeContext & DecodeContext = {
  refIdOf: () => null,
  handleOf: () => null,
  encodeFunction: (fn) => {
    throw makeError("UNSERIALIZABLE", `the function ${fn.name} cannot be sent here`);
  },
  makeRef: (id) => {
    throw corrupt(`a ref (${id}) where none may be`);
  },
  makeHandle: () => {
    throw corrupt("an actor handle where none may be");
  },
  decodeFunction: () => {
    throw corrupt("a function where none may be");
  },
};

const noNames: readonly string[] = [];

/** The positional and keyword arguments of a call. */
export interface CallArgs {
  readonly args: unknown[];
  readonly kwargs: Record<string, unknown> | null;
}

/** Encodes a value. Throws UnserializableError, naming the path, for what cannot be sent. */
export function encode(value: unknown, ctx: EncodeContext, name = "value"): Encoded {
  return encodeRoot(value, ctx, name);
}

/** Encodes an error that `get` shall throw. */
export function encodeError(error: PolyrayError, ctx: EncodeContext): Encoded {
  return encodeRoot(error, ctx, "error", flagError);
}

/** Encodes what a task threw as the TaskError that its caller gets. Never throws for a value that cannot be sent. */
export function encodeTaskError(thrown: unknown, where: TaskWhere, ctx: EncodeContext): Encoded {
  return encodeError(taskErrorOf(thrown, where), ctx);
}

/** Encodes the arguments of a call. Top-level refs become arguments that the receiver resolves. */
export function encodeArgs(
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>> | null,
  ctx: EncodeContext,
): Encoded {
  const encoder = takeEncoder(ctx);
  try {
    writeArgs(encoder, args, kwargs);
    return encoder.encoded();
  } finally {
    encoder.release();
  }
}

/** The same for arguments that are handed on before the next value is encoded. */
export function encodeArgsPassing(
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>> | null,
  ctx: EncodeContext,
): Encoded | InPlace {
  const encoder = takeEncoder(ctx, true);
  try {
    writeArgs(encoder, args, kwargs);
    return encoder.passing();
  } finally {
    encoder.release();
  }
}

function writeArgs(
  encoder: Encoder,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>> | null,
): void {
  for (const arg of args) encoder.argRef(arg);
  const names = kwargs === null ? noNames : Object.keys(kwargs);
  for (const name of names) encoder.argRef(kwargs?.[name]);
  if (encoder.refs.length > limits.maxRefArgs) {
    throw makeError(
      "TABLE_FULL",
      `a call takes at most ${limits.maxRefArgs} different refs as arguments`,
    );
  }
  encoder.argRefCount = encoder.refs.length;
  encoder.arrayHeader(2);
  encoder.arrayHeader(args.length);
  for (let i = 0; i < args.length; i++) encoder.arg(args[i], i, "");
  if (kwargs === null) encoder.nil();
  else {
    encoder.mapHeader(names.length);
    for (const name of names) {
      encoder.string(name);
      encoder.arg(kwargs[name], -1, name);
    }
  }
}

/** Decodes an envelope. Buffers in the value are views on `bytes`. An error envelope gives the error as a value. */
export function decode(bytes: Uint8Array, ctx: DecodeContext): unknown {
  try {
    return new Decoder(bytes, readHeader(bytes), ctx, (inner) => decode(inner, ctx)).root();
  } catch (error) {
    if (error instanceof RangeError) throw corrupt(error.message);
    throw error;
  }
}

/** Decodes the arguments of a call; `ctx.argValue` gives the values of top-level refs. */
export function decodeArgs(bytes: Uint8Array, ctx: DecodeContext): CallArgs {
  const body = decode(bytes, ctx);
  if (!Array.isArray(body) || body.length !== 2 || !Array.isArray(body[0]))
    throw corrupt("these are no arguments");
  const kwargs: unknown = body[1];
  if (kwargs !== null && (typeof kwargs !== "object" || !isPlainObject(kwargs))) {
    throw corrupt("these are no keyword arguments");
  }
  return { args: body[0], kwargs: kwargs as Record<string, unknown> | null };
}
