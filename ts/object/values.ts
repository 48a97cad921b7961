// SPDX-License-Identifier: Apache-2.0
// The words of the value model: extension numbers, element types, and the classes that stand for values which
// JavaScript itself lacks. Pure data; the rules are in docs/values.md.

import { makeError } from "../base/errors.ts";

/** MessagePack extension numbers of envelope bodies; fixed for ever. */
export const Ext = {
  ref: 1,
  argRef: 2,
  actorHandle: 3,
  buffer: 4,
  ndArray: 6,
  npScalar: 7,
  arrow: 8,
  pyObject: 9,
  jsObject: 10,
  bigInt: 11,
  date: 12,
  set: 13,
  frozenSet: 14,
  map: 15,
  tuple: 16,
  error: 17,
  undefined: 18,
  regExp: 19,
  complex: 20,
  function: 21,
  codec: 22,
} as const;

/** Where an array came from. */
export const NdKind = { numpy: 0, typedArray: 1, ndArray: 2, clamped: 3 } as const;

/** Which Arrow object the IPC stream stands for. */
export const ArrowKind = { table: 0, recordBatch: 1 } as const;

/** Arrays that can hold elements. */
export type ElementArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

type ElementArrayClass = new (
  buffer: ArrayBufferLike,
  offset: number,
  length: number,
) => ElementArray;

/** What an element type is in JavaScript. */
export interface ElementType {
  readonly bytes: number;
  readonly Class: ElementArrayClass;
  /** How many items of Class one element takes. */
  readonly width: number;
  /** A 1-D array of this type is the plain typed array. */
  readonly plain: boolean;
}

const types: Record<string, ElementType> = {
  "|b1": { bytes: 1, Class: Uint8Array, width: 1, plain: false },
  "|i1": { bytes: 1, Class: Int8Array, width: 1, plain: true },
  "|u1": { bytes: 1, Class: Uint8Array, width: 1, plain: true },
  "<i2": { bytes: 2, Class: Int16Array, width: 1, plain: true },
  "<u2": { bytes: 2, Class: Uint16Array, width: 1, plain: true },
  "<i4": { bytes: 4, Class: Int32Array, width: 1, plain: true },
  "<u4": { bytes: 4, Class: Uint32Array, width: 1, plain: true },
  "<i8": { bytes: 8, Class: BigInt64Array, width: 1, plain: true },
  "<u8": { bytes: 8, Class: BigUint64Array, width: 1, plain: true },
  "<f2": { bytes: 2, Class: Uint16Array, width: 1, plain: false },
  "<f4": { bytes: 4, Class: Float32Array, width: 1, plain: true },
  "<f8": { bytes: 8, Class: Float64Array, width: 1, plain: true },
  "<c8": { bytes: 8, Class: Float32Array, width: 2, plain: false },
  "<c16": { bytes: 16, Class: Float64Array, width: 2, plain: false },
};
const time: ElementType = { bytes: 8, Class: BigInt64Array, width: 1, plain: false };
const timePattern = /^<[mM]8(\[\d*(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?$/;

/** The element type of a NumPy dtype string such as `<f8`, or null when arrays of it do not cross. */
export function elementType(dtype: string): ElementType | null {
  if (Object.hasOwn(types, dtype)) return types[dtype] ?? null;
  return timePattern.test(dtype) ? time : null;
}

/** The dtype string of a typed array. */
export function dtypeOf(array: ElementArray): string {
  switch (Object.prototype.toString.call(array)) {
    case "[object Int8Array]":
      return "|i1";
    case "[object Int16Array]":
      return "<i2";
    case "[object Uint16Array]":
      return "<u2";
    case "[object Int32Array]":
      return "<i4";
    case "[object Uint32Array]":
      return "<u4";
    case "[object Float32Array]":
      return "<f4";
    case "[object Float64Array]":
      return "<f8";
    case "[object BigInt64Array]":
      return "<i8";
    case "[object BigUint64Array]":
      return "<u8";
    default:
      return "|u1";
  }
}

/** An n-dimensional array in C order, or one of an element type that JavaScript lacks. */
export class NdArray {
  readonly data: ElementArray;
  readonly shape: readonly number[];
  /** NumPy's name of the element type, such as `<f8` or `|b1`. */
  readonly dtype: string;

  constructor(data: ElementArray, shape: readonly number[], dtype: string = dtypeOf(data)) {
    const type = elementType(dtype);
    if (type === null) throw new TypeError(`no such element type: ${dtype}`);
    const count = shape.reduce((a, b) => a * b, 1);
    if (
      !shape.every((n) => Number.isSafeInteger(n) && n >= 0) ||
      count * type.bytes !== data.byteLength
    ) {
      throw new RangeError(
        `shape [${shape.join(", ")}] does not fit ${data.byteLength} bytes of ${dtype}`,
      );
    }
    this.data = data;
    this.shape = shape;
    this.dtype = dtype;
  }
}

/** A complex number of Python. */
export class Complex {
  readonly re: number;
  readonly im: number;
  constructor(re: number, im: number) {
    this.re = re;
    this.im = im;
  }
}

/** One pickle with its buffers and refs; several opaque objects of a value share it. */
export interface PickleGroup {
  readonly pickle: Uint8Array;
  readonly buffers: readonly Uint8Array[];
  readonly refs: readonly string[];
  /** Whatever keeps the refs alive while the group lives. */
  readonly held: readonly unknown[];
}

/** A Python object that JavaScript cannot look into; it goes back to Python as it came. */
export class PyObject {
  /** Python class, such as `fractions.Fraction`. */
  readonly typeName: string;
  readonly group: PickleGroup;
  readonly index: number;
  constructor(typeName: string, group: PickleGroup, index: number) {
    this.typeName = typeName;
    this.group = group;
    this.index = index;
    Object.defineProperty(this, "group", { enumerable: false });
  }

  /** Nothing in Python can be called as a value: a remote function or class of Python says so when one tries. */
  get remote(): undefined {
    if (!/^polyray\b.*\.(RemoteFunction|ActorClass)$/.test(this.typeName)) return undefined;
    const maker = this.typeName.endsWith("ActorClass") ? "pyActor" : "pyFunction";
    throw makeError(
      "INVALID_ARGUMENT",
      `a remote function or class of Python cannot be called as a value in TypeScript: name it by its module, as in ${maker}("module", "name")`,
    );
  }
}

/** A value of a codec whose tag this process does not know. */
export class CodecValue {
  readonly tag: string;
  readonly payload: unknown;
  constructor(tag: string, payload: unknown) {
    this.tag = tag;
    this.payload = payload;
  }
}

/** What an actor handle is on the wire: the ref of the actor's lifetime object, and plain data. */
export interface HandleForm {
  readonly ref: string | null;
  readonly meta: unknown;
}

/** How an encoder recognises what is not plain data. All hooks get objects or functions only. */
export interface EncodeContext {
  /** The id when the value is an object ref, else null. */
  refIdOf(value: object): string | null;
  /** The wire form when the value is an actor handle, else null. */
  handleOf(value: object): HandleForm | null;
  /** A function as plain data (which may hold refs and buffers); throws UnserializableError when it cannot travel. */
  encodeFunction(fn: (...args: never[]) => unknown): unknown;
}

/** How a decoder builds what is not plain data. */
export interface DecodeContext {
  makeRef(id: string): unknown;
  /** For a value with many refs: gives the ref of an index into `ids` (16 bytes each); null: use makeRef for each. */
  makeRefs?(ids: Uint8Array): { ref(index: number): unknown } | null;
  makeHandle(meta: unknown, ref: string | null): unknown;
  decodeFunction(payload: unknown): unknown;
  /** The value of a ref that was given as a top-level argument. */
  argValue?(id: string): unknown;
  /** Keeps a ref inside an opaque payload alive; `makeRef` when absent. */
  holdRef?(id: string): unknown;
}
