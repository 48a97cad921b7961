// SPDX-License-Identifier: Apache-2.0
//
// Goal: bytes of any content give a value or a CorruptValueError, never a crash, a hang or another error.
// Method: every prefix of real envelopes, seeded random damage, and hand-made lies.

import { readFileSync } from "node:fs";
import t from "tap";
import { CorruptValueError, PolyrayError } from "../../../ts/base/errors.ts";
import { decode, encode, encodeError, isErrorEnvelope } from "../../../ts/object/serialize.ts";
import { testContext } from "./tagged.ts";

const { cases } = JSON.parse(
  readFileSync(new URL("../../contract/values/cases.json", import.meta.url), "utf8"),
) as { cases: { name: string; hex: string }[] };

function* randomNumbers(seed: number): Generator<number> {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

function outcome(bytes: Uint8Array): unknown {
  try {
    decode(bytes, testContext);
    return null;
  } catch (error) {
    return error;
  }
}

t.test("every cut of every case is refused", async (t) => {
  for (const c of cases) {
    const bytes = Buffer.from(c.hex, "hex");
    if (bytes.length > 2000) continue;
    for (let end = 0; end < bytes.length; end++) {
      const error = outcome(bytes.subarray(0, end));
      if (!(error instanceof CorruptValueError))
        t.fail(`${c.name} cut at ${end}: ${String(error)}`);
    }
  }
  t.pass("all cuts were tried");
});

t.test("damaged envelopes give a value or a typed error", async (t) => {
  const seed = Number(process.env.POLYRAY_SEED ?? 20261122);
  const random = randomNumbers(seed);
  const next = (below: number) => Math.floor((random.next().value as number) * below);
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const c = cases[next(cases.length)];
    const bytes = Buffer.from(c?.hex ?? "", "hex");
    if (bytes.length > 2000) continue;
    for (let i = 0; i <= next(4); i++) bytes[next(bytes.length)] = next(256);
    const error = outcome(bytes);
    if (error === null) continue;
    refused++;
    if (!(error instanceof PolyrayError))
      t.fail(`seed ${seed}, ${c?.name}, ${bytes.toString("hex")}: ${String(error)}`);
  }
  t.ok(refused > 1000, `${refused} were refused (seed ${seed})`);
});

function envelope(body: number[]): Uint8Array {
  const bytes = Buffer.alloc(16 + body.length);
  bytes[0] = 1;
  bytes.writeUInt32LE(body.length, 4);
  bytes.set(body, 16);
  return bytes;
}

t.test("lies in lengths and numbers are refused", async (t) => {
  const lies: Record<string, number[]> = {
    "an array of four billion": [0xdd, 0xff, 0xff, 0xff, 0xff],
    "a map of four billion": [0xdf, 0xff, 0xff, 0xff, 0xff],
    "a string past the end": [0xdb, 0, 0, 1, 0, 0x61],
    "an unknown extension": [0xd4, 99, 0],
    "an unused byte": [0xc1],
    "a ref that is not there": [0xd6, 1, 0, 0, 0, 0],
    "a buffer that is not there": [0xd6, 4, 9, 0, 0, 0],
    "a tuple that holds no array": [0xd4, 16, 1],
    "an extension with bytes left": [0xd5, 16, 0x90, 0x90],
    "two values": [1, 2],
    "no value": [],
    "a string that is not UTF-8": [0xa2, 0xff, 0xfe],
    "an overlong string": [0xa2, 0xc0, 0x80],
    "nesting without end": new Array(5000).fill(0x91),
  };
  for (const [name, body] of Object.entries(lies)) {
    t.type(outcome(envelope(body)), CorruptValueError, name);
  }
});

t.test("headers that lie are refused", async (t) => {
  const good = encode([new Float64Array(10)], testContext).toBytes();
  const damage = (at: number, value: number) => {
    const bytes = good.slice();
    bytes[at] = value;
    return outcome(bytes);
  };
  t.type(damage(0, 2), CorruptValueError, "version");
  t.type(damage(1, 128), CorruptValueError, "flags");
  t.type(damage(2, 5), CorruptValueError, "argument refs");
  t.type(damage(8, 255), CorruptValueError, "buffer count");
  t.type(damage(16, 1), CorruptValueError, "buffer offset off the grid");
  t.type(damage(16, 0), CorruptValueError, "buffer offset inside of the header");
  t.type(damage(24, 255), CorruptValueError, "buffer size");
  t.type(damage(31, 255), CorruptValueError, "buffer size of exabytes");
});

t.test("a record with the key __proto__ keeps its prototype", async (t) => {
  const body = [0x81, 0xa9, ...Buffer.from("__proto__"), 0x81, 0xa1, 0x61, 1];
  const value = decode(envelope(body), testContext) as object;
  t.equal(Object.getPrototypeOf(value), Object.prototype);
  t.same(Object.keys(value), ["__proto__"]);
});

t.test("an ERROR of any fields gives an error", async (t) => {
  const odd = encode(
    { code: "x", cls: 5, cause: null, stack: [1], props: 3, chain: 9, errors: "no" },
    testContext,
  ).toBytes();
  const body = [...odd.subarray(16)];
  const error = decode(envelope([0xc7, body.length, 17, ...body]), testContext);
  t.ok(error instanceof Error);
  t.ok(isErrorEnvelope(encodeError(new CorruptValueError("x"), testContext).toBytes()));
});
