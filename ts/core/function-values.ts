// SPDX-License-Identifier: Apache-2.0
// Functions inside values: how a closure that is an argument, a result or a captured variable travels (ext FUNCTION).
//
// Decoding a value is synchronous and reviving a function may import modules, so decoding collects the functions first:
// `decodeWithFunctions` revives them and decodes again. A plain decode gives a stand-in that revives itself when called.

import { makeError } from "../base/errors.ts";
import { describeFunction, fromWire, reviveFunction, toWire, type WireFunction } from "../object/function/index.ts";

type AnyFunction = (...args: never[]) => unknown;

/** Plain data of a function. Throws UnserializableError naming the variable. */
export function encodeFunctionValue(fn: AnyFunction): unknown {
  const { json, values } = toWire(describeFunction(fn));
  return { json, values };
}

/** Revives a function from its plain data. */
export function reviveValue(payload: unknown): Promise<AnyFunction> {
  const wire = payload as Partial<WireFunction> | null;
  if (typeof wire?.json !== "string" || !Array.isArray(wire.values)) throw makeError("VALUE_CORRUPT", "this is no function");
  return reviveFunction(fromWire(wire.json, wire.values)) as Promise<AnyFunction>;
}

/** What the running decode does with functions; null: stand-ins. */
let collecting: { payloads: unknown[]; revived: AnyFunction[] | null } | null = null;

export function decodeFunctionValue(payload: unknown): unknown {
  if (collecting === null) return standIn(payload);
  if (collecting.revived !== null) return collecting.revived.shift();
  collecting.payloads.push(payload);
  return standIn(payload);
}

function standIn(payload: unknown): AnyFunction {
  let revived: Promise<AnyFunction> | null = null;
  return async (...args: never[]) => {
    revived ??= reviveValue(payload);
    return (await revived)(...args);
  };
}

/** Runs `decode` so that functions in its result are the real ones. `decode` must give the same each time. */
export async function decodeWithFunctions<T>(decode: () => T): Promise<T> {
  const first = { payloads: [] as unknown[], revived: null };
  const value = collect(first, decode);
  if (first.payloads.length === 0) return value;
  const revived = await Promise.all(first.payloads.map((payload) => reviveValue(payload)));
  return collect({ payloads: [], revived }, decode);
}

/** As above without waiting when there is no function: the value, or a promise of it. */
export function decodeMaybeFunctions<T>(decode: () => T): T | Promise<T> {
  const first = { payloads: [] as unknown[], revived: null };
  const value = collect(first, decode);
  return first.payloads.length === 0 ? value : decodeWithFunctions(decode);
}

function collect<T>(state: { payloads: unknown[]; revived: AnyFunction[] | null }, decode: () => T): T {
  const before = collecting;
  collecting = state;
  try {
    return decode();
  } finally {
    collecting = before;
  }
}
