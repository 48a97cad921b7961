// SPDX-License-Identifier: Apache-2.0
// Functions inside values: how a closure that is an argument, a result or a captured variable travels (ext FUNCTION).
//
// Decoding a value is synchronous and reviving a function may import modules. A function that needs no module that is not
// loaded yet is revived at once. For others decoding collects them first: `decodeWithFunctions` revives them and decodes
// again; a plain decode gives a stand-in, an async function that revives itself when it is called.

import { makeError, UnserializableError } from "../base/errors.ts";
import {
  describeFunction,
  type FunctionDescriptor,
  fromWire,
  ModulesPending,
  reviveFunction,
  reviveFunctionNow,
  toWire,
  type WireFunction,
} from "../object/function/index.ts";

type AnyFunction = (...args: never[]) => unknown;

const carriers: ((value: object) => boolean)[] = [];

/** Names objects that the value codec carries itself (refs, handles, remote functions), so that closures may hold them. */
export function carry(test: (value: object) => boolean): void {
  carriers.push(test);
}

function isValue(value: object): boolean {
  for (const test of carriers) if (test(value)) return true;
  return false;
}

/** Describes a function. Throws UnserializableError naming the variable. */
export function describeValue(fn: AnyFunction): FunctionDescriptor {
  return describeFunction(fn, { isValue });
}

/** Plain data of a function. Throws UnserializableError naming the variable. */
export function encodeFunctionValue(fn: AnyFunction): unknown {
  const wire = toWire(describeValue(fn));
  return { json: wire.json, values: wire.values };
}

/** Runs an encoding; errors about captured values get the names of the variables instead of their place on the wire. */
export function nameValues<T>(name: string, names: readonly string[], run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof UnserializableError)) throw error;
    const match = /^(?:spec\[1\]|[\w$ ]+)\.values\[(\d+)\](.*)$/.exec(error.path ?? "");
    const variable = match === null ? undefined : names[Number(match[1])];
    if (match === null || variable === undefined) throw error;
    const path = `${name} > ${variable}${match[2] ?? ""}`;
    throw new UnserializableError(error.message.replaceAll(error.path ?? "", path), {
      path,
      cause: error.cause,
    });
  }
}

function wireOf(payload: unknown): { json: string; values: unknown[] } {
  const wire = payload as Partial<WireFunction> | null;
  if (typeof wire?.json !== "string" || !Array.isArray(wire.values))
    throw makeError("VALUE_CORRUPT", "this is no function");
  return { json: wire.json, values: wire.values };
}

/** Revives a function from its plain data. */
export async function reviveValue(payload: unknown): Promise<AnyFunction> {
  const { json, values } = wireOf(payload);
  return (await reviveFunction(fromWire(json, values))) as AnyFunction;
}

function reviveNow(payload: unknown): AnyFunction | null {
  const { json, values } = wireOf(payload);
  try {
    return reviveFunctionNow(fromWire(json, values)) as AnyFunction;
  } catch (error) {
    if (error instanceof ModulesPending) return null;
    throw error;
  }
}

/** What the running decode does with functions that cannot be revived at once; null: stand-ins. */
let collecting: { waiting: Promise<unknown>[] } | null = null;

/** Hook of the decoder. */
export function decodeFunctionValue(payload: unknown): unknown {
  const revived = reviveNow(payload);
  if (revived !== null) return revived;
  if (collecting !== null) collecting.waiting.push(reviveValue(payload));
  return standIn(payload);
}

function standIn(payload: unknown): AnyFunction {
  let revived: Promise<AnyFunction> | null = null;
  return async (...args: never[]) => {
    revived ??= reviveValue(payload);
    return (await revived)(...args);
  };
}

/**
 * Decodes so that functions in the result are the real ones: at once when their modules are loaded, else after they are
 * (then `decode` runs again).
 */
export function decodeMaybeFunctions<T>(decode: () => T): T | Promise<T> {
  const outer = collecting;
  const mine = { waiting: [] as Promise<unknown>[] };
  collecting = mine;
  let value: T;
  try {
    value = decode();
  } finally {
    collecting = outer;
  }
  if (mine.waiting.length === 0) return value;
  // Once the modules are loaded, a second decode revives at once; functions inside of functions may need another round.
  return Promise.all(mine.waiting).then(() => decodeMaybeFunctions(decode));
}
