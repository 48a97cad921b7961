// SPDX-License-Identifier: Apache-2.0
/** Looks into plain objects and arrays: do they hold functions, are they plain data all through. Pure. */

import { types } from "node:util";

const nodeLimit = 5_000;

/** An array, or an object without a class of its own. */
export function isPlainContainer(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  if (Array.isArray(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** A plain container, or a map or set. */
export function isContainer(value: unknown): value is object {
  if (value instanceof Map || value instanceof Set) return true;
  return !types.isProxy(value) && isPlainContainer(value);
}

/** True when a function is reached through containers only. */
export function holdsFunction(value: object): boolean {
  const seen = new Set<object>([value]);
  for (const container of seen) {
    if (seen.size > nodeLimit) return false;
    for (const item of contentsOf(container)) {
      if (typeof item === "function") return true;
      if (isContainer(item)) seen.add(item);
    }
  }
  return false;
}

/** What a container holds; keys and values in turn for a map. */
export function contentsOf(container: object): unknown[] {
  if (container instanceof Map) return [...container.entries()].flat();
  return container instanceof Set ? [...container] : Object.values(container);
}

/** True for primitives, typed arrays, dates, and plain containers, maps and sets of such. */
export function isPlainData(value: unknown): boolean {
  const seen = new Set<unknown>([value]);
  for (const item of seen) {
    if (seen.size > nodeLimit || typeof item === "function" || typeof item === "symbol")
      return false;
    if (typeof item !== "object" || item === null) continue;
    if (ArrayBuffer.isView(item) || item instanceof Date || item instanceof RegExp) continue;
    if (item instanceof Map) for (const pair of item) for (const part of pair) seen.add(part);
    else if (item instanceof Set) for (const part of item) seen.add(part);
    else if (isPlainContainer(item)) for (const part of Object.values(item)) seen.add(part);
    else return false;
  }
  return true;
}
