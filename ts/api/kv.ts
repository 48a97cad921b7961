// SPDX-License-Identifier: Apache-2.0
// The key-value table of the control service: small values that all programs of a runtime share, in both languages.
//
// A value comes back as it was put: bytes as bytes, text as text, everything else as JSON. Python's
// `polyray.experimental.internal_kv` sees the bytes. Keys and namespaces are separate from those of objects and actors.

import { InvalidOptionError, makeError } from "../base/errors.ts";
import { checkOptions, checks } from "../core/checks.ts";
import { connection } from "../core/context.ts";

/** What a key may hold: bytes, text, or a value that JSON can carry. */
export type KvValue =
  | Uint8Array
  | string
  | number
  | boolean
  | null
  | readonly KvValue[]
  | { readonly [key: string]: unknown };

/** Where a key is. */
export interface KvOptions {
  /** Keys of one namespace are apart from all others. Default: the empty one, as in Python. */
  readonly namespace?: string;
}

/** Options of `kv.put`. */
export interface KvPutOptions extends KvOptions {
  /** False: only when the key has no value yet. Default true. */
  readonly overwrite?: boolean;
  /** Only when the key has this value now; null: when it has none. */
  readonly expected?: KvValue;
}

/** Options of `kv.get`. */
export interface KvGetOptions extends KvOptions {
  /** Read the bytes so, however they were put. Default: as they were put. */
  readonly as?: "bytes" | "text" | "json";
}

/** Options of `kv.del`. */
export interface KvDelOptions extends KvOptions {
  /** Remove all keys that begin with the given one. Default false. */
  readonly prefix?: boolean;
}

const keyChecks = {
  namespace: checks.anyText,
  overwrite: checks.bool,
  prefix: checks.bool,
  as: (v: unknown) =>
    v === "bytes" || v === "text" || v === "json" ? null : '"bytes", "text" or "json"',
  expected: () => null,
};

function keyOf(key: string | Uint8Array, options: KvOptions, where: string) {
  if (typeof key !== "string" && !(key instanceof Uint8Array))
    throw new InvalidOptionError(
      `[invalid option] ${where} takes a key: a string or bytes, not ${String(key)}.`,
    );
  checkOptions(options, keyChecks, where);
  return { ns: options.namespace ?? "", key: Buffer.from(key as string) };
}

function encoded(value: KvValue, where: string): { value: Uint8Array; form: string } {
  if (value instanceof Uint8Array) return { value, form: "bytes" };
  if (typeof value === "string") return { value: Buffer.from(value), form: "text" };
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw makeError("UNSERIALIZABLE", `${where}: ${(error as Error).message}`);
  }
  if (text === undefined)
    throw makeError("UNSERIALIZABLE", `${where}: ${typeof value} has no JSON. Use put() for it.`);
  return { value: Buffer.from(text), form: "json" };
}

/** Sets a key. True when the value was stored: always, unless `overwrite: false` or `expected` forbade it. */
async function put(
  key: string | Uint8Array,
  value: KvValue,
  options: KvPutOptions = {},
): Promise<boolean> {
  const fields = keyOf(key, options, "kv.put");
  const { expected, overwrite } = options;
  const wanted =
    expected === undefined || expected === null ? expected : encoded(expected, "expected").value;
  const answer = await connection().request("kv.put", {
    ...fields,
    ...encoded(value, `kv.put(${String(key)})`),
    overwrite,
    expected: wanted,
  });
  return answer.stored === true;
}

/** The value of a key, as it was put; undefined when it has none. */
async function get<T = unknown>(
  key: string | Uint8Array,
  options: KvGetOptions = {},
): Promise<T | undefined> {
  const answer = await connection().request("kv.get", keyOf(key, options, "kv.get"));
  if (!(answer.value instanceof Uint8Array)) return undefined;
  const form = options.as ?? answer.form;
  if (form === "bytes") return answer.value.slice() as T;
  const text = Buffer.from(answer.value).toString("utf8");
  return (form === "text" ? text : JSON.parse(text)) as T;
}

/** Whether a key has a value. */
async function exists(key: string | Uint8Array, options: KvOptions = {}): Promise<boolean> {
  const answer = await connection().request("kv.get", keyOf(key, options, "kv.exists"));
  return answer.value instanceof Uint8Array;
}

/** Removes a key, or with `prefix` all that begin so. How many were removed. */
async function del(key: string | Uint8Array, options: KvDelOptions = {}): Promise<number> {
  const fields = keyOf(key, options, "kv.del");
  const keys = options.prefix === true ? await rawKeys(fields.key, fields.ns) : [fields.key];
  const answers = await Promise.all(
    keys.map((one) => connection().request("kv.del", { ns: fields.ns, key: one })),
  );
  return answers.filter((answer) => answer.deleted === true).length;
}

/** The keys that begin so; all of the namespace when nothing is said. */
async function list(prefix: string | Uint8Array = "", options: KvOptions = {}): Promise<string[]> {
  const fields = keyOf(prefix, options, "kv.list");
  return (await rawKeys(fields.key, fields.ns)).map((key) => key.toString("utf8")).sort();
}

async function rawKeys(prefix: Buffer, ns: string): Promise<Buffer[]> {
  const answer = await connection().request("kv.keys", { ns, prefix: prefix.toString("latin1") });
  return (answer.keys as string[]).map((key) => Buffer.from(key, "latin1"));
}

/**
 * Small values that all programs of a runtime share: `await kv.put("a", { n: 1 })`, `await kv.get("a")`. They live as long as
 * the runtime. Rejects with InvalidOptionError for what is no key, LimitError when the table is full.
 */
export const kv = { put, get, del, delete: del, exists, list } as const;
