// SPDX-License-Identifier: Apache-2.0
// Envelope body -> value, by the table in docs/values.md. Buffers are views on the envelope's memory, never copies.
// Invariants: (1) every read is checked against the end of its own range, so bytes of any content give a value or a
// CorruptValueError; (2) nesting is bounded; (3) no key of a record can reach a prototype.

import { deserialize as v8Deserialize } from "node:v8";
import { PolyrayError } from "../base/errors.ts";
import { idBytes } from "../base/ids.ts";
import { arrowFromBytes } from "./arrow.ts";
import { codecOfTag } from "./codecs.ts";
import { bufferAt, corrupt, type Header, refAt } from "./envelope.ts";
import { errorOfRecord } from "./serialize-error.ts";
import {
  CodecValue,
  Complex,
  type DecodeContext,
  type ElementArray,
  type ElementType,
  Ext,
  elementType,
  NdArray,
  NdKind,
  type PickleGroup,
  PyObject,
} from "./values.ts";

const maxDepth = 1024;
/** From so many refs in one value on they are made lazily (ref.ts). */
const lazyRefs = 64;
const f64 = new Float64Array(1);
const f64Bytes = new Uint8Array(f64.buffer);
const utf8Slice = (
  Buffer.prototype as unknown as { utf8Slice(this: Uint8Array, a: number, b: number): string }
).utf8Slice;
const littleEndian = { f16: halfToNumber };

/** Reads one body. */
export class Decoder {
  readonly #bytes: Uint8Array;
  readonly #header: Header;
  readonly #ctx: DecodeContext;
  readonly #decodeInner: (bytes: Uint8Array) => unknown;
  #pos: number;
  #end: number;
  #depth = 0;
  #groups: Map<number, PickleGroup> | null = null;
  #refs: { ref(index: number): unknown } | null | undefined = undefined;

  constructor(
    bytes: Uint8Array,
    header: Header,
    ctx: DecodeContext,
    decodeInner: (bytes: Uint8Array) => unknown,
  ) {
    this.#bytes = bytes;
    this.#header = header;
    this.#ctx = ctx;
    this.#decodeInner = decodeInner;
    this.#pos = header.bodyStart;
    this.#end = header.bodyEnd;
  }

  /** The value of the whole body. */
  root(): unknown {
    const value = this.#any();
    if (this.#pos !== this.#end) throw corrupt("bytes are left after the value");
    return value;
  }

  #need(count: number): number {
    const pos = this.#pos;
    if (count > this.#end - pos) throw corrupt("the body is cut off");
    this.#pos = pos + count;
    return pos;
  }

  #u8(): number {
    return this.#bytes[this.#need(1)] as number;
  }

  #u16(): number {
    const at = this.#need(2);
    return ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number);
  }

  #u32(): number {
    const at = this.#need(4);
    const b = this.#bytes;
    return (
      (((b[at] as number) << 24) |
        ((b[at + 1] as number) << 16) |
        ((b[at + 2] as number) << 8) |
        (b[at + 3] as number)) >>>
      0
    );
  }

  #float64(): number {
    const at = this.#need(8);
    for (let i = 0; i < 8; i++) f64Bytes[7 - i] = this.#bytes[at + i] as number;
    return f64[0] as number;
  }

  #int64(signed: boolean): number | bigint {
    const high = BigInt(this.#u32());
    const unsigned = (high << 32n) | BigInt(this.#u32());
    return narrow(signed ? BigInt.asIntN(64, unsigned) : unsigned);
  }

  #any(): unknown {
    const tag = this.#u8();
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 15);
    if (tag < 0xa0) return this.#array(tag & 15);
    if (tag < 0xc0) return this.#string(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    return this.#tagged(tag);
  }

  #tagged(tag: number): unknown {
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.#u8());
      case 0xc5:
        return this.#binary(this.#u16());
      case 0xc6:
        return this.#binary(this.#u32());
      case 0xca: {
        const at = this.#need(4);
        return new DataView(this.#bytes.buffer, this.#bytes.byteOffset).getFloat32(at);
      }
      case 0xcb:
        return this.#float64();
      case 0xcc:
        return this.#u8();
      case 0xcd:
        return this.#u16();
      case 0xce:
        return this.#u32();
      case 0xcf:
        return this.#int64(false);
      case 0xd0:
        return (this.#u8() << 24) >> 24;
      case 0xd1:
        return (this.#u16() << 16) >> 16;
      case 0xd2:
        return this.#u32() | 0;
      case 0xd3:
        return this.#int64(true);
      case 0xd9:
        return this.#string(this.#u8());
      case 0xda:
        return this.#string(this.#u16());
      case 0xdb:
        return this.#string(this.#u32());
      case 0xdc:
        return this.#array(this.#u16());
      case 0xdd:
        return this.#array(this.#u32());
      case 0xde:
        return this.#map(this.#u16());
      case 0xdf:
        return this.#map(this.#u32());
      default:
        return this.#extension(tag);
    }
  }

  #enter(items: number): void {
    if (items > this.#end - this.#pos) throw corrupt("the body is cut off");
    if (++this.#depth > maxDepth) throw corrupt(`values nest deeper than ${maxDepth}`);
  }

  #array(length: number): unknown[] {
    this.#enter(length);
    const array = new Array<unknown>(length);
    for (let i = 0; i < length; i++) array[i] = this.#any();
    this.#depth--;
    return array;
  }

  // A map is a record until a key that is no string turns up: then it is a Map.
  #map(length: number): unknown {
    this.#enter(2 * length);
    const record: Record<string, unknown> = {};
    let map: Map<unknown, unknown> | null = null;
    for (let i = 0; i < length; i++) {
      const key = this.#any();
      if (map === null && typeof key !== "string") map = new Map(Object.entries(record));
      const value = this.#any();
      if (map !== null) map.set(key, value);
      else if (key === "__proto__") {
        Object.defineProperty(record, key, {
          value,
          enumerable: true,
          configurable: true,
          writable: true,
        });
      } else record[key as string] = value;
    }
    this.#depth--;
    return map ?? record;
  }

  #string(length: number): string {
    const at = this.#need(length);
    const bytes = this.#bytes;
    if (length < 24) {
      let text = "";
      let i = 0;
      for (; i < length; i++) {
        const c = bytes[at + i] as number;
        if (c > 127) break;
        text += String.fromCharCode(c);
      }
      if (i === length) return text;
    }
    const text = utf8Slice.call(bytes, at, at + length);
    return text.includes("\ufffd") ? strictText(bytes, at, at + length) : text;
  }

  #binary(length: number): Uint8Array {
    const at = this.#need(length);
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + at, length);
  }

  #extension(tag: number): unknown {
    const length = this.#extLength(tag);
    const type = this.#u8();
    const at = this.#need(length);
    const after = this.#pos;
    const outer = this.#end;
    this.#pos = at;
    this.#end = after;
    if (++this.#depth > maxDepth) throw corrupt(`values nest deeper than ${maxDepth}`);
    const value = this.#ext(type, length);
    if (this.#pos !== after) throw corrupt(`extension ${type} has bytes left`);
    this.#end = outer;
    this.#depth--;
    return value;
  }

  #extLength(tag: number): number {
    if (tag >= 0xd4 && tag <= 0xd8) return 1 << (tag - 0xd4);
    if (tag === 0xc7) return this.#u8();
    if (tag === 0xc8) return this.#u16();
    if (tag === 0xc9) return this.#u32();
    throw corrupt(`MessagePack byte ${tag} is unknown`);
  }

  #index(): number {
    const at = this.#need(4);
    const b = this.#bytes;
    return (
      ((b[at] as number) |
        ((b[at + 1] as number) << 8) |
        ((b[at + 2] as number) << 16) |
        ((b[at + 3] as number) << 24)) >>>
      0
    );
  }

  #ref(index: number): string {
    return refAt(this.#bytes, this.#header, index);
  }

  #makeRef(index: number): unknown {
    const { refCount, refsStart } = this.#header;
    if (this.#refs === undefined) {
      const ids = this.#bytes.subarray(refsStart, refsStart + refCount * idBytes);
      this.#refs = refCount < lazyRefs ? null : (this.#ctx.makeRefs?.(ids) ?? null);
    }
    if (this.#refs === null || index >= refCount) return this.#ctx.makeRef(this.#ref(index));
    return this.#refs.ref(index);
  }

  #buffer(index: number): Uint8Array {
    return bufferAt(this.#bytes, this.#header, index);
  }

  #ext(type: number, length: number): unknown {
    switch (type) {
      case Ext.ref:
        return this.#makeRef(this.#index());
      case Ext.argRef:
        return this.#argRef(this.#ref(this.#index()));
      case Ext.actorHandle:
        return this.#handle();
      case Ext.buffer:
        return this.#buffer(this.#index());
      case Ext.ndArray:
        return this.#ndArray();
      case Ext.npScalar:
        return this.#npScalar(length);
      case Ext.arrow: {
        const [buffer, kind] = this.#tuple(2, "ARROW");
        return arrowFromBytes(this.#buffer(count(buffer)), count(kind));
      }
      case Ext.pyObject: {
        const [group, index, typeName] = this.#tuple(3, "PYOBJ");
        return new PyObject(String(typeName), this.#group(count(group)), count(index));
      }
      case Ext.jsObject:
        return this.#jsObject(this.#buffer(this.#index()));
      case Ext.function:
        return this.#ctx.decodeFunction(this.#decodeInner(this.#buffer(this.#index())));
      default:
        return this.#plainExt(type, length);
    }
  }

  #plainExt(type: number, length: number): unknown {
    switch (type) {
      case Ext.bigInt:
        return bigIntOf(this.#binary(length));
      case Ext.date: {
        if (length !== 8) throw corrupt("a DATE has 8 bytes");
        const micros = this.#littleInt64();
        const ms = micros / 1000n - (micros % 1000n < 0n ? 1n : 0n);
        return new Date(Number(ms));
      }
      case Ext.set:
      case Ext.frozenSet:
        return new Set(this.#list("SET"));
      case Ext.map:
        return mapOf(this.#list("MAP"));
      case Ext.tuple:
        return this.#list("TUPLE");
      case Ext.error:
        return errorOfRecord(record(this.#any()));
      case Ext.undefined:
        return undefined;
      case Ext.regExp:
        return regExpOf(this.#tuple(2, "REGEXP"));
      case Ext.complex: {
        if (length !== 16) throw corrupt("a COMPLEX has 16 bytes");
        const [re, im] = new Float64Array(this.#binary(16).slice().buffer);
        return new Complex(re as number, im as number);
      }
      case Ext.codec: {
        const [tag, payload] = this.#tuple(2, "CODEC");
        const codec = codecOfTag(String(tag));
        return codec === null ? new CodecValue(String(tag), payload) : codec.decode(payload);
      }
      default:
        throw corrupt(`extension ${type} is unknown`);
    }
  }

  #argRef(id: string): unknown {
    const ctx = this.#ctx;
    return ctx.argValue === undefined ? ctx.makeRef(id) : ctx.argValue(id);
  }

  #handle(): unknown {
    const [index, meta] = this.#tuple(2, "ACTOR_HANDLE");
    return this.#ctx.makeHandle(meta, index === null ? null : this.#ref(count(index)));
  }

  #list(what: string): unknown[] {
    const list = this.#any();
    if (!Array.isArray(list)) throw corrupt(`a ${what} holds no array`);
    return list;
  }

  #tuple(length: number, what: string): unknown[] {
    const list = this.#list(what);
    if (list.length !== length) throw corrupt(`a ${what} has ${list.length} fields`);
    return list;
  }

  #littleInt64(): bigint {
    const low = BigInt(this.#index());
    return BigInt.asIntN(64, (BigInt(this.#index()) << 32n) | low);
  }

  #ndArray(): unknown {
    const [dtype, shape, buffer, kind] = this.#tuple(4, "NDARRAY");
    const type = elementType(String(dtype));
    if (type === null || !Array.isArray(shape)) throw corrupt(`NDARRAY of ${String(dtype)}`);
    const bytes = this.#buffer(count(buffer));
    const dims = shape.map(count);
    if (dims.reduce((a, b) => a * b, type.bytes) !== bytes.length)
      throw corrupt("NDARRAY of a wrong size");
    if (dims.length === 0) return scalarOf(bytes, String(dtype));
    const data = viewOf(bytes, type);
    if (kind === NdKind.clamped && dtype === "|u1") {
      return new Uint8ClampedArray(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    if (dims.length === 1 && type.plain && kind !== NdKind.ndArray) return data;
    return new NdArray(data, dims, String(dtype));
  }

  #npScalar(length: number): unknown {
    const bytes = this.#binary(length);
    const nameLength = bytes[0] ?? 0;
    const dtype = utf8Slice.call(bytes, 1, 1 + nameLength);
    const raw = bytes.subarray(1 + nameLength);
    if (elementType(dtype)?.bytes !== raw.length) throw corrupt(`NPSCALAR of ${dtype}`);
    return scalarOf(raw, dtype);
  }

  #group(index: number): PickleGroup {
    this.#groups ??= new Map();
    const known = this.#groups.get(index);
    if (known !== undefined) return known;
    const bytes = this.#buffer(index);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < 8) throw corrupt("a pickle group is cut off");
    const bufferCount = view.getUint32(0, true);
    const refCount = view.getUint32(4, true);
    const start = 8 + 4 * (bufferCount + refCount);
    if (start > bytes.length) throw corrupt("a pickle group is cut off");
    const number = (i: number) => view.getUint32(8 + 4 * i, true);
    const refs = Array.from({ length: refCount }, (_, i) => this.#ref(number(bufferCount + i)));
    const hold = this.#ctx.holdRef ?? this.#ctx.makeRef;
    const group: PickleGroup = {
      pickle: bytes.subarray(start),
      buffers: Array.from({ length: bufferCount }, (_, i) => this.#buffer(number(i))),
      refs,
      held: refs.map((ref) => hold.call(this.#ctx, ref)),
    };
    this.#groups.set(index, group);
    return group;
  }

  #jsObject(bytes: Uint8Array): unknown {
    try {
      return v8Deserialize(bytes);
    } catch (error) {
      if (error instanceof PolyrayError) throw error;
      throw corrupt(
        `a JSOBJ cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

function count(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw corrupt("a number is out of range");
  return value;
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Map) {
    throw corrupt("an ERROR holds no record");
  }
  return value as Record<string, unknown>;
}

function narrow(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

function mapOf(list: unknown[]): Map<unknown, unknown> {
  if (list.length % 2 !== 0) throw corrupt("a MAP has a key without a value");
  const map = new Map<unknown, unknown>();
  for (let i = 0; i < list.length; i += 2) map.set(list[i], list[i + 1]);
  return map;
}

function regExpOf([source, flags]: unknown[]): RegExp {
  try {
    return new RegExp(String(source), String(flags));
  } catch {
    throw corrupt("a REGEXP cannot be compiled");
  }
}

function bigIntOf(bytes: Uint8Array): bigint {
  if (bytes.length === 0) throw corrupt("a BIGINT has no bytes");
  const hex = Buffer.from(bytes).reverse().toString("hex");
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`));
}

// Memory of the store is aligned; bytes from elsewhere may not be, and then the elements are copied.
function viewOf(bytes: Uint8Array, type: ElementType): ElementArray {
  const size = type.Class === Uint8Array || type.Class === Int8Array ? 1 : type.bytes / type.width;
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new type.Class(aligned.buffer, aligned.byteOffset, bytes.length / size);
}

function scalarOf(bytes: Uint8Array, dtype: string): unknown {
  const type = elementType(dtype) as ElementType;
  const data = viewOf(bytes, type);
  if (type.width === 2) return new Complex(Number(data[0]), Number(data[1]));
  const value = data[0] as number | bigint;
  if (dtype === "|b1") return value !== 0;
  if (dtype === "<f2") return littleEndian.f16(value as number);
  return typeof value === "bigint" ? narrow(value) : value;
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// UTF-8 with lone surrogates allowed (WTF-8); anything else that is wrong is refused.
function strictText(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  let at = start;
  while (at < end) {
    const first = bytes[at] as number;
    const size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || at + size > end)
      throw corrupt("a string is not UTF-8");
    let code = size === 1 ? first : first & (0xff >> (size + 1));
    for (let i = 1; i < size; i++) {
      const next = bytes[at + i] as number;
      if ((next & 0xc0) !== 0x80) throw corrupt("a string is not UTF-8");
      code = (code << 6) | (next & 63);
    }
    if (code > 0x10ffff || (size === 3 && code < 0x800) || (size === 4 && code < 0x10000)) {
      throw corrupt("a string is not UTF-8");
    }
    text += String.fromCodePoint(code);
    at += size;
  }
  return text;
}
