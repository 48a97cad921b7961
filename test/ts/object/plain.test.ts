// SPDX-License-Identifier: Apache-2.0
//
// Goal: what is read in place is what decoding gives, and nothing that is wrong or unusual is taken for plain.
// Method: values and arguments at different places of one buffer against decode; all cases of the contract; seeded damage.

import { readFileSync } from "node:fs";
import t from "tap";
import { notPlain, SmallEnvelopes } from "../../../ts/object/plain.ts";
import { decode, decodeArgs, encode, encodeArgs } from "../../../ts/object/serialize.ts";
import { testContext } from "./tagged.ts";

const memory = new SmallEnvelopes(new ArrayBuffer(64 * 1024));

/** Puts an envelope between other bytes; gives its place. */
function place(bytes: Uint8Array, at = 64): [number, number] {
  memory.bytes.fill(0xa5);
  memory.bytes.set(bytes, at);
  return [at, bytes.length];
}

const readValue = (bytes: Uint8Array, at?: number): unknown => memory.value(...place(bytes, at));
const readArgs = (bytes: Uint8Array): unknown[] | null => memory.args(...place(bytes));

const plain: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  1,
  127,
  128,
  255,
  256,
  65535,
  65536,
  2 ** 32 - 1,
  -1,
  -32,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "",
  "short text",
  "x".repeat(31),
  new Uint8Array(0),
  Uint8Array.of(0x6f, 0x6b),
  new Uint8Array(200).fill(7),
];
const notInPlace: readonly unknown[] = [
  undefined,
  -33,
  2 ** 40,
  12n,
  "ä",
  "x".repeat(32),
  [],
  {},
  [1],
  new Date(0),
  new Float64Array(2),
  new Uint8Array(300),
];

t.test("plain values are what decoding gives", async (t) => {
  for (const at of [0, 4, 64, 4096])
    for (const value of plain) {
      const bytes = encode(value, testContext).toBytes();
      const read = readValue(bytes, at);
      t.ok(Object.is(read, value) || value instanceof Uint8Array);
      t.strictSame(read, decode(bytes, testContext));
      if (read instanceof Uint8Array) t.not(read.buffer, memory.bytes.buffer, "bytes of its own");
    }
});

t.test("everything else is left to decoding", async (t) => {
  for (const value of notInPlace)
    t.equal(readValue(encode(value, testContext).toBytes()), notPlain, String(value));
  const { cases } = JSON.parse(
    readFileSync(new URL("../../contract/values/cases.json", import.meta.url), "utf8"),
  ) as { cases: { name: string; hex: string }[] };
  for (const { name, hex } of cases) {
    const bytes = Buffer.from(hex, "hex");
    if (bytes.length > 8192) continue;
    const read = readValue(bytes);
    if (read !== notPlain) t.strictSame(read, decode(bytes, testContext), name);
  }
});

t.test("arguments likewise", async (t) => {
  const of = (args: unknown[], kwargs: Record<string, unknown> | null = null): Uint8Array =>
    encodeArgs(args, kwargs, testContext).toBytes();
  for (const args of [[], [1], [null, "a", 2.5], [...plain.slice(0, 15)]]) {
    t.strictSame(readArgs(of(args)), args);
    t.strictSame(readArgs(of(args)), decodeArgs(of(args), testContext).args);
  }
  for (const other of [of([], {}), of([], { k: 1 }), of([[]]), of([1, {}]), of(plain.slice(0, 16))])
    t.equal(readArgs(other), null);
  t.equal(readArgs(new Uint8Array(0)), null);
  t.equal(readArgs(encode(null, testContext).toBytes()), null, "a value is no list of arguments");
});

t.test("damaged bytes give what decoding gives, or are left to it", async (t) => {
  let state = 20_261_122;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let read = 0;
  for (let i = 0; i < 20_000; i++) {
    const value = plain[random(plain.length)];
    const bytes = encode(value, testContext).toBytes();
    for (let n = random(3); n >= 0; n--) bytes[random(bytes.length)] = random(256);
    const cut = random(4) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
    const found = readValue(cut);
    if (found === notPlain) continue;
    read++;
    t.strictSame(found, decode(Uint8Array.from(cut), testContext), `${i}`);
  }
  t.ok(read > 1000);
});
