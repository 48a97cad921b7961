// SPDX-License-Identifier: Apache-2.0
/**
 * The serial form of a descriptor: JSON for its shape, and the captured values beside it, which the
 * value codec carries. Pure.
 *
 * Invariant: values that JSON keeps exactly (strings, booleans, null, finite numbers but -0) stay
 * inside; all others are in `values`, each once.
 */

import type { FunctionDescriptor, ValueCapture } from "./descriptor.ts";

export interface WireFunction {
  readonly json: string;
  readonly values: unknown[];
  /** The variable or property that holds each value: what an error should name. */
  readonly names: string[];
}

/** A captured value on the wire: in the JSON itself, or an index into `values`. */
interface InlineValue {
  readonly kind: "value";
  readonly inline: string | number | boolean | null;
}

interface IndexedValue {
  readonly kind: "value";
  readonly at: number;
}

/** Serialises a descriptor. */
export function toWire(descriptor: FunctionDescriptor): WireFunction {
  const values: unknown[] = [];
  const indices = new Map<unknown, number>();
  const names: string[] = [];
  const place = (value: unknown, name: string): InlineValue | IndexedValue => {
    if (isInline(value)) return { kind: "value", inline: value };
    let at = indices.get(value);
    if (at === undefined || Object.is(value, -0)) {
      at = values.push(value) - 1;
      indices.set(value, at);
      names.push(name);
    }
    return { kind: "value", at };
  };
  const json = JSON.stringify(descriptor, function (this: unknown, key, item: unknown) {
    return isValueCapture(item) ? place(item.value, nameOf(this, key)) : item;
  });
  return { json, values, names };
}

/** Reads what `toWire` wrote; `values` as the codec delivered them. */
export function fromWire(json: string, values: readonly unknown[]): FunctionDescriptor {
  return JSON.parse(json, (_key, item: unknown) => {
    if (typeof item !== "object" || item === null) return item;
    if ((item as { kind?: unknown }).kind !== "value") return item;
    if ("inline" in item) return { kind: "value", value: item.inline } satisfies ValueCapture;
    if (!("at" in item)) return item;
    return { kind: "value", value: values[item.at as number] } satisfies ValueCapture;
  }) as FunctionDescriptor;
}

/** What a captured variable or property is called; the index for items of a collection. */
function nameOf(owner: unknown, key: string): string {
  const { name, key: property } = owner as { name?: unknown; key?: unknown };
  const own = name ?? property;
  return typeof own === "string" ? own : `[${key}]`;
}

/** A captured value, not the descriptor itself (whose kind may also be "value"). */
function isValueCapture(item: unknown): item is ValueCapture {
  if (typeof item !== "object" || item === null) return false;
  return (item as { kind?: unknown }).kind === "value" && "value" in item && !("nodes" in item);
}

function isInline(value: unknown): value is InlineValue["inline"] {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  return typeof value === "number" && Number.isFinite(value) && !Object.is(value, -0);
}
