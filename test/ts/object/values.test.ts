// SPDX-License-Identifier: Apache-2.0
//
// Goal: values keep what docs/values.md promises, on both sides and byte for byte.
// Method: the shared cases of test/contract/values in both directions, then what only TypeScript has.

import { readFileSync } from "node:fs";
import t from "tap";
import { idFromBytes, idOfWords } from "../../../ts/base/ids.ts";
import {
  decode,
  decodeArgs,
  encode,
  encodeArgs,
  envelopeArgRefs,
  envelopeRefs,
  NdArray,
  PyObject,
  plainContext,
  registerCodec,
} from "../../../ts/object/serialize.ts";
import {
  build,
  describe,
  type Tagged,
  TestArgValue,
  TestFunction,
  TestRef,
  testContext,
} from "./tagged.ts";

interface Case {
  name: string;
  hex: string;
  value: Tagged;
  ts?: Tagged;
  from: string[];
}

const { cases } = JSON.parse(
  readFileSync(new URL("../../contract/values/cases.json", import.meta.url), "utf8"),
) as { cases: Case[] };
const roundTrip = (value: unknown) => decode(encode(value, testContext).toBytes(), testContext);
const id = "01000000020000000300000000000000";

t.test("every shared case is read as the table says", async (t) => {
  t.ok(cases.length > 100, "the cases are there");
  for (const c of cases) {
    t.same(describe(decode(Buffer.from(c.hex, "hex"), testContext)), c.ts ?? c.value, c.name);
  }
});

t.test("every shared case of TypeScript is written to the pinned bytes", async (t) => {
  for (const c of cases.filter((c) => c.from.includes("ts"))) {
    const bytes = encode(build(c.value), testContext).toBytes();
    t.equal(Buffer.from(bytes).toString("hex"), c.hex, c.name);
  }
});

t.test("values of classes that only JavaScript knows come back", async (t) => {
  t.same(roundTrip(new Uint8ClampedArray([1, 2])), new Uint8ClampedArray([1, 2]));
  t.ok(Number.isNaN((roundTrip(new Date(Number.NaN)) as Date).getTime()));
  t.same(roundTrip(new Date(8.64e15)), new Date(8.64e15), "a date past the year 9999");
  t.same(roundTrip(new Array(2).fill(1, 1)), [undefined, 1], "a hole is undefined");
  t.same(roundTrip(Object.create(null)), {});
  t.same(roundTrip(Object(5)), 5);
  t.same(roundTrip("z".repeat(70_000)), "z".repeat(70_000));
  t.same(roundTrip(new Array(70_000).fill(1)), new Array(70_000).fill(1));
  t.same(roundTrip(new Uint8Array([1, 2]).buffer), new Uint8Array([1, 2]));
});

t.test("big buffers are views on the envelope", async (t) => {
  const value = { floats: new Float64Array(100).fill(1.5), bytes: new Uint8Array(1000).fill(7) };
  const bytes = encode(value, testContext).toBytes();
  const back = decode(bytes, testContext) as typeof value;
  t.equal(back.floats.buffer, bytes.buffer);
  t.equal(back.bytes.buffer, bytes.buffer);
  t.equal(back.floats.byteOffset % 64, 0);
  t.same(back, value);
});

t.test("an envelope at an odd address is read with a copy", async (t) => {
  const bytes = encode(new Float64Array([1, 2]), testContext).toBytes();
  const odd = new Uint8Array(bytes.length + 3).subarray(3);
  odd.set(bytes);
  t.same(decode(odd, testContext), new Float64Array([1, 2]));
});

t.test("the same array twice is stored once", async (t) => {
  const array = new Float64Array(1000);
  t.ok(encode([array, array], testContext).size < 9000);
});

t.test("a cyclic value comes back as a cycle", async (t) => {
  const ring: { next?: unknown; map: Map<string, unknown> } = { map: new Map([["a", 1]]) };
  ring.next = ring;
  const back = roundTrip(ring) as typeof ring;
  t.equal(back.next, back);
  t.same(back.map, ring.map);
});

t.test("a very deep value comes back", async (t) => {
  let deep: unknown[] = [];
  for (let i = 0; i < 800; i++) deep = [deep];
  let depth = 0;
  for (let at = roundTrip(deep) as unknown[]; at.length > 0; at = at[0] as unknown[]) depth++;
  t.equal(depth, 800);
});

t.test("a ref inside of a cycle is refused by path", async (t) => {
  const ring: Record<string, unknown> = { ref: new TestRef(id) };
  ring.self = ring;
  t.throws(() => encode(ring, testContext), { name: "UnserializableError", path: "value.ref" });
});

t.test("what cannot be sent is named by its path", async (t) => {
  class Socket {}
  const refused: [unknown, string, RegExp][] = [
    [{ conn: { socket: new Socket() } }, "args[0].conn.socket", /a Socket cannot be sent/],
    [[1, Promise.resolve()], "args[0][1]", /Promise/],
    [new Map([["k", new WeakMap()]]), "args[0].k", /WeakMap/],
    [{ "a b": Symbol("x") }, 'args[0]["a b"]', /symbol/],
    [new Set([new (class {})()]), "args[0][0]", /unknown class/],
    [new Proxy(new Socket(), {}), "args[0]", /Proxy/],
  ];
  for (const [value, path, why] of refused) {
    t.throws(() => encodeArgs([value], null, testContext), {
      name: "UnserializableError",
      code: "UNSERIALIZABLE",
      path,
      message: why,
    });
  }
  t.throws(() => encode(() => 1, plainContext), { name: "UnserializableError" });
});

t.test("an encoded value does not change when others are encoded", async (t) => {
  const first = encode([1, "a"], testContext);
  const second = encode([new TestRef(id), new Float64Array([1])], testContext);
  const third = encode({ x: "other" }, testContext);
  t.same(decode(first.toBytes(), testContext), [1, "a"]);
  t.same(decode(second.toBytes(), testContext), [new TestRef(id), new Float64Array([1])]);
  t.same(decode(third.toBytes(), testContext), { x: "other" });
  t.same(first.refs, []);
});

t.test("a value can be encoded after one was refused", async (t) => {
  t.throws(() => encode([Symbol("x")], testContext));
  t.same(roundTrip({ a: 1 }), { a: 1 });
});

t.test("functions travel as what the hook gives, with their refs", async (t) => {
  const ref = new TestRef(id);
  const context = { ...testContext, encodeFunction: () => ({ ref, data: new Float64Array(100) }) };
  const encoded = encode([() => 1], context);
  t.same(encoded.refs, [id]);
  const [fn] = decode(encoded.toBytes(), testContext) as [TestFunction];
  t.ok(fn instanceof TestFunction);
  t.same(fn.payload, { ref, data: new Float64Array(100) });
});

t.test("registered classes travel by their codec", async (t) => {
  class Point {
    readonly #x: number;
    constructor(x: number) {
      this.#x = x;
    }
    get x() {
      return this.#x;
    }
  }
  registerCodec(Point, {
    tag: "test/Point",
    encode: (p) => ({ x: p.x }),
    decode: (p) => new Point(p.x),
  });
  const back = roundTrip([new Point(3)]) as [Point];
  t.ok(back[0] instanceof Point);
  t.equal(back[0].x, 3);
  class Sub extends Point {}
  t.throws(
    () => encode(new Sub(1), testContext),
    { name: "UnserializableError" },
    "a subclass needs its own",
  );
});

t.test("a class may carry its own plain form", async (t) => {
  class Money {
    [Symbol.for("polyray.encode")]() {
      return { cents: 5 };
    }
  }
  t.same(roundTrip(new Money()), { cents: 5 });
});

t.test("top-level refs of a call become values, nested ones stay refs", async (t) => {
  const other = "02000000020000000300000000000000";
  const encoded = encodeArgs(
    [{ deep: new TestRef(other) }, new TestRef(id)],
    { k: new TestRef(id) },
    testContext,
  );
  const bytes = encoded.toBytes();
  t.same(envelopeArgRefs(bytes), [id]);
  t.same(envelopeRefs(bytes), [id, other]);
  const { args, kwargs } = decodeArgs(bytes, testContext);
  t.ok(args[1] instanceof TestArgValue);
  t.ok(kwargs?.k instanceof TestArgValue);
  const nested = (args[0] as { deep: TestRef }).deep;
  t.notOk(nested instanceof TestArgValue);
  t.equal(nested.id, other);
});

t.test("an id is the same text from bytes and from words", async (t) => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => (i * 37 + 131) & 255);
  const words = new Uint32Array(bytes.buffer) as unknown as [number, number, number, number];
  t.equal(idOfWords(...words), idFromBytes(bytes));
  const [a, b, c, d] = words;
  t.equal(idOfWords(a | 0, b | 0, c | 0, d | 0), idFromBytes(bytes), "signed words, too");
});

t.test("a cyclic argument does not change the others", async (t) => {
  const ring: unknown[] = [];
  ring.push(ring);
  const { args } = decodeArgs(
    encodeArgs([new TestRef(id), ring, 3], null, testContext).toBytes(),
    testContext,
  );
  t.ok(args[0] instanceof TestArgValue);
  t.equal((args[1] as unknown[])[0], args[1]);
  t.equal(args[2], 3);
});

function groupsOf(value: unknown): unknown[] {
  if (value instanceof PyObject) {
    const { pickle, buffers, refs } = value.group;
    return [
      value.typeName,
      value.index,
      Buffer.from(pickle),
      buffers.map((b) => Buffer.from(b)),
      refs,
    ];
  }
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(groupsOf) : [];
}

t.test("an opaque Python value passes through unchanged", async (t) => {
  const { opaque } = JSON.parse(
    readFileSync(new URL("../../contract/values/opaque.json", import.meta.url), "utf8"),
  ) as { opaque: { name: string; hex: string; mixed?: boolean }[] };
  for (const c of opaque) {
    const bytes = Buffer.from(c.hex, "hex");
    const value = decode(bytes, testContext);
    const again = encode(value, testContext).toBytes();
    if (c.mixed !== true) t.equal(Buffer.from(again).toString("hex"), c.hex, c.name);
    t.same(groupsOf(decode(again, testContext)), groupsOf(value), c.name);
  }
  const [first] = decode(Buffer.from(opaque[0]?.hex ?? "", "hex"), testContext) as [PyObject];
  t.ok(first instanceof PyObject);
  t.equal(first.typeName, "fractions.Fraction");
  const mixed = [{ deep: first }, new Float64Array(3)];
  t.equal((roundTrip(mixed) as [{ deep: PyObject }])[0].deep.typeName, "fractions.Fraction");
});

t.test("an NdArray checks its shape", async (t) => {
  t.throws(() => new NdArray(new Float64Array(3), [2, 2]), RangeError);
  t.throws(() => new NdArray(new Float64Array(4), [2, 2], "<q9"), TypeError);
});
