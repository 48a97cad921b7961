// SPDX-License-Identifier: Apache-2.0
// Values as tagged JSON, the language of test/contract/values: `build` makes the value that a case describes, `describe`
// says how TypeScript sees a value. python: test/python/tagged_values.py does the same.

import {
  CodecValue,
  Complex,
  type DecodeContext,
  type EncodeContext,
  NdArray,
  PyObject,
} from "../../../ts/object/serialize.ts";

export type Tagged = readonly [string, ...unknown[]];

/** A ref of the tests: what the contexts make and recognise. */
export class TestRef {
  readonly id: string;
  constructor(id: string) {
    this.id = id;
  }
}

/** An actor handle of the tests. */
export class TestHandle {
  readonly ref: string | null;
  readonly meta: unknown;
  constructor(ref: string | null, meta: unknown) {
    this.ref = ref;
    this.meta = meta;
  }
}

/** A function that came by value. */
export class TestFunction {
  readonly payload: unknown;
  constructor(payload: unknown) {
    this.payload = payload;
  }
}

/** The value of a ref argument. */
export class TestArgValue extends TestRef {}

export const testContext: EncodeContext & DecodeContext = {
  refIdOf: (value) => (value instanceof TestRef ? value.id : null),
  handleOf: (value) => (value instanceof TestHandle ? { ref: value.ref, meta: value.meta } : null),
  encodeFunction: (fn) => ({ source: String(fn) }),
  makeRef: (id) => new TestRef(id),
  makeHandle: (meta, ref) => new TestHandle(ref, meta),
  decodeFunction: (payload) => new TestFunction(payload),
  argValue: (id) => new TestArgValue(id),
};

const arrays = {
  "|i1": Int8Array,
  "<i2": Int16Array,
  "<u2": Uint16Array,
  "<i4": Int32Array,
  "<u4": Uint32Array,
  "<f4": Float32Array,
  "<f8": Float64Array,
  "<i8": BigInt64Array,
  "<u8": BigUint64Array,
} as const;

function bytesOf(hex: unknown): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(String(hex), "hex"));
}

/** The value of a description. */
export function build(tagged: Tagged): unknown {
  const [tag, a, b, c] = tagged;
  const items = () => (a as Tagged[]).map(build);
  const pairs = () =>
    (a as [Tagged, Tagged][]).map(([k, v]) => [build(k), build(v)] as [unknown, unknown]);
  switch (tag) {
    case "null":
      return null;
    case "undefined":
      return undefined;
    case "bool":
      return a;
    case "int":
      return Number(a);
    case "bigint":
      return BigInt(String(a));
    case "float":
      return a === "-0" ? -0 : Number(a);
    case "str":
      return a;
    case "bytes":
      return bytesOf(a);
    case "list":
      return items();
    case "record":
      return Object.fromEntries(pairs() as [string, unknown][]);
    case "map":
      return new Map(pairs());
    case "set":
      return new Set(items());
    case "date":
      return new Date(Number(a) / 1000);
    case "array":
      return new arrays[a as keyof typeof arrays](bytesOf(b).buffer);
    case "nd":
      return new NdArray(new Float64Array(bytesOf(c).buffer), b as number[], String(a));
    case "complex":
      return new Complex(Number(a), Number(b));
    case "regexp":
      return new RegExp(String(a), String(b));
    case "ref":
      return new TestRef(String(a));
    case "handle":
      return new TestHandle(a as string | null, build(b as Tagged));
    case "codec":
      return new CodecValue(String(a), build(b as Tagged));
    default:
      throw new Error(`cannot build ${tag}`);
  }
}

function hex(view: ArrayBufferView): string {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString("hex");
}

/** How TypeScript sees a value. */
export function describe(value: unknown): Tagged {
  if (value === null) return ["null"];
  switch (typeof value) {
    case "undefined":
      return ["undefined"];
    case "boolean":
      return ["bool", value];
    case "string":
      return ["str", value];
    case "bigint":
      return ["bigint", String(value)];
    case "number":
      if (Object.is(value, -0)) return ["float", "-0"];
      return Number.isSafeInteger(value) ? ["int", String(value)] : ["float", String(value)];
    default:
      return describeObject(value as object);
  }
}

function describeObject(value: object): Tagged {
  if (Array.isArray(value)) return ["list", value.map(describe)];
  if (value instanceof Uint8Array) return ["bytes", hex(value)];
  if (ArrayBuffer.isView(value)) {
    const found = Object.entries(arrays).find(([, Class]) => value instanceof Class);
    return ["array", found?.[0] ?? value.constructor.name, hex(value)];
  }
  if (value instanceof NdArray) return ["nd", value.dtype, [...value.shape], hex(value.data)];
  if (value instanceof Map) return ["map", [...value].map(([k, v]) => [describe(k), describe(v)])];
  if (value instanceof Set) return ["set", [...value].map(describe)];
  if (value instanceof Date) return ["date", String(value.getTime() * 1000)];
  if (value instanceof Complex) return ["complex", value.re, value.im];
  if (value instanceof RegExp) return ["regexp", value.source, value.flags];
  if (value instanceof TestArgValue) return ["argvalue", value.id];
  if (value instanceof TestRef) return ["ref", value.id];
  if (value instanceof TestHandle) return ["handle", value.ref, describe(value.meta)];
  if (value instanceof CodecValue) return ["codec", value.tag, describe(value.payload)];
  if (value instanceof PyObject) return ["pyobject", value.typeName];
  if (value instanceof TestFunction) return ["function", describe(value.payload)];
  return ["record", Object.entries(value).map(([k, v]) => [describe(k), describe(v)])];
}
