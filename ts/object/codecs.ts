// SPDX-License-Identifier: Apache-2.0
// Codecs of the user's own classes: class -> tag and plain data, tag -> instance. Process-wide; main thread and
// worker_threads have one registry each. A tag means the same in every process and in both languages.

import { makeError } from "../base/errors.ts";

/** How instances of a class travel. */
export interface Codec<T, P = unknown> {
  /** Name on the wire, such as `acme/Point@1`. */
  readonly tag: string;
  /** The instance as plain data; may hold refs, typed arrays and other sendable values. */
  encode(value: T): P;
  /** The instance again. */
  decode(payload: P): T;
}

type AnyCodec = Codec<unknown, unknown>;
type Constructor = abstract new (...args: never[]) => unknown;

const byClass = new Map<unknown, AnyCodec>();
const byTag = new Map<string, AnyCodec>();

/** A class may carry its own plain form: `[encodeSymbol]() { return {...} }`. */
export const encodeSymbol: unique symbol = Symbol.for("polyray.encode") as never;

/** Teaches this process to send and to receive instances of a class. Registering the same tag again replaces it. */
export function registerCodec<C extends Constructor, P>(
  Class: C,
  codec: Codec<InstanceType<C>, P>,
): void {
  if (typeof Class !== "function") throw makeError("INVALID_OPTION", "registerCodec needs a class");
  if (typeof codec?.tag !== "string" || codec.tag === "") {
    throw makeError("INVALID_OPTION", `the codec of ${Class.name} needs a tag`);
  }
  const old = byTag.get(codec.tag);
  for (const [known, value] of byClass) if (value === old) byClass.delete(known);
  const any = codec as unknown as AnyCodec;
  byClass.set(Class, any);
  byTag.set(codec.tag, any);
}

/** The codec of exactly this value's class. */
export function codecOf(value: object): AnyCodec | null {
  if (byClass.size === 0) return null;
  return byClass.get(Object.getPrototypeOf(value)?.constructor) ?? null;
}

/** The codec of a tag. */
export function codecOfTag(tag: string): AnyCodec | null {
  return byTag.get(tag) ?? null;
}
