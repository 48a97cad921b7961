// SPDX-License-Identifier: Apache-2.0
// The slow side of encoding: what is a plain object, how a value is called in a message, where in a value the
// culprit sits, and whether a cyclic value may travel as one opaque payload. Runs on failure only, except isPlainObject.

import { types } from "node:util";
import { type EncodeContext, NdArray } from "./values.ts";

/** True for objects that are plain records: no class, also from another realm. */
export function isPlainObject(value: object): boolean {
  const proto = Object.getPrototypeOf(value);
  if (proto === Object.prototype || proto === null) return true;
  return (
    Object.getPrototypeOf(proto) === null &&
    proto.constructor?.name === "Object" &&
    Object.hasOwn(proto, "isPrototypeOf")
  );
}

/** A value in words, such as `a Socket`. */
export function describeValue(value: unknown): string {
  if (typeof value === "symbol") return "a symbol";
  if (typeof value === "function")
    return value.name === "" ? "a function" : `the function ${value.name}`;
  if (typeof value !== "object" || value === null) return String(value);
  if (types.isPromise(value)) return "a Promise (await it first)";
  if (types.isProxy(value)) return "a Proxy";
  const name = value.constructor?.name;
  if (typeof name !== "string" || name === "") return "an object of an unknown class";
  return `${/^[AEIOUaeiou]/.test(name) ? "an" : "a"} ${name}`;
}

function step(path: string, key: unknown): string {
  if (typeof key === "number") return `${path}[${key}]`;
  if (typeof key === "string" && /^[A-Za-z_$][\w$]*$/.test(key))
    return path === "" ? key : `${path}.${key}`;
  return `${path}[${typeof key === "string" ? JSON.stringify(key) : describeValue(key)}]`;
}

function* childrenOf(value: object): Generator<[unknown, unknown]> {
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) yield [i, value[i]];
  } else if (types.isMap(value)) {
    for (const [key, item] of value) {
      yield [key, key];
      yield [key, item];
    }
  } else if (types.isSet(value)) {
    let i = 0;
    for (const item of value) yield [i++, item];
  } else if (!ArrayBuffer.isView(value) && !(value instanceof NdArray) && !types.isProxy(value)) {
    for (const key of Object.keys(value)) yield [key, (value as Record<string, unknown>)[key]];
  }
}

/** The path from a root to a value inside it, by identity; null when it is not found. */
export function findPath(root: unknown, target: unknown, name: string): string | null {
  const seen = new Set<object>();
  const queue: [unknown, string][] = [[root, name]];
  for (let at = 0; at < queue.length; at++) {
    const [value, path] = queue[at] as [unknown, string];
    if (Object.is(value, target)) return path;
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    for (const [key, child] of childrenOf(value)) queue.push([child, step(path, key)]);
  }
  return null;
}

/** The first thing in a cyclic or deep value that structured clone would lose or refuse; null when there is none. */
export function opaqueFault(
  root: unknown,
  ctx: EncodeContext,
): { value: unknown; why: string } | null {
  const seen = new Set<object>();
  const queue: unknown[] = [root];
  for (let at = 0; at < queue.length; at++) {
    const value = queue[at];
    if (typeof value === "symbol" || typeof value === "function") {
      return { value, why: `${describeValue(value)} inside of a cyclic value cannot be sent` };
    }
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    const plain = Array.isArray(value) || isPlainObject(value);
    if (!plain && (ctx.refIdOf(value) !== null || ctx.handleOf(value) !== null)) {
      return { value, why: "a ref or handle inside of a cyclic value cannot be sent" };
    }
    if (!plain && !isCloneable(value)) {
      return { value, why: `${describeValue(value)} inside of a cyclic value cannot be sent` };
    }
    for (const [, child] of childrenOf(value)) queue.push(child);
  }
  return null;
}

function isCloneable(value: object): boolean {
  return (
    types.isMap(value) ||
    types.isSet(value) ||
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isNativeError(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isBoxedPrimitive(value) ||
    ArrayBuffer.isView(value)
  );
}
