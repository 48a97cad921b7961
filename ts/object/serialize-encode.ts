// SPDX-License-Identifier: Apache-2.0
// Value -> envelope body, by the table in docs/values.md. One Encoder per value; it collects refs and buffers.
// Invariants: (1) a value is refused, never silently changed into something else, unless the table says how;
// (2) what cannot be plain (a cycle, too deep) makes its whole root one opaque JS payload; (3) errors name the path.

import { types } from "node:util";
import { serialize as v8Serialize } from "node:v8";
import { PolyrayError, UnserializableError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { ArrowValue, arrowKindOf, arrowToChunks } from "./arrow.ts";
import { codecOf, encodeSymbol } from "./codecs.ts";
import { Chunks, Encoded, flagArrow, headerBytes, InPlace, type OutOfBand } from "./envelope.ts";
import { errorRecord } from "./serialize-error.ts";
import { describeValue, findPath, isPlainObject, opaqueFault } from "./serialize-path.ts";
import { Writer } from "./serialize-writer.ts";
import {
  CodecValue,
  Complex,
  dtypeOf,
  type ElementArray,
  type EncodeContext,
  Ext,
  NdArray,
  NdKind,
  PyObject,
} from "./values.ts";

/** Thrown inside the encoder only: the value at fault and why. */
export class Refusal {
  readonly value: unknown;
  readonly why: string;
  constructor(value: unknown, why: string) {
    this.value = value;
    this.why = why;
  }
}

/** Thrown inside the encoder only: this root must travel as one opaque payload. */
const notPlain = Symbol("not plain");

const noContext = null as unknown as EncodeContext; // between two values only

const minDateMs = -62135596800000; // 0001-01-01, the first day Python knows
const maxDateMs = 253402300799999;

/** Encodes one value at a time; taken by `takeEncoder` and given back by `release`. */
export class Encoder extends Writer {
  ctx: EncodeContext = noContext;
  refs: string[] = [];
  parts: OutOfBand[] = [];
  flags = 0;
  argRefCount = 0;
  #refIndex = new Map<string, number>();
  #partIndex = new Map<object, number>();
  #stack: object[] = [];
  #depth = 0;

  /** Starts a value. `passes`: it is handed on before the next one is encoded. */
  open(ctx: EncodeContext, passes: boolean): void {
    this.ctx = ctx;
    this.flags = 0;
    this.argRefCount = 0;
    this.#depth = 0;
    if (passes) this.beginPassing(headerBytes);
    else this.begin();
  }

  /** Ends a value: what was handed out in `encoded` is no longer touched. */
  release(): void {
    this.finish();
    this.ctx = noContext;
    if (this.refs.length > 0) {
      this.refs = [];
      this.#refIndex.clear();
    }
    if (this.parts.length > 0) {
      this.parts = [];
      this.#partIndex.clear();
    }
    if (this.#stack.length > 0) this.#stack = [];
    idle = this;
  }

  /** Writes a root value; one that is not plain becomes an opaque payload. `name` starts the path in errors. */
  root(value: unknown, name: string): void {
    if (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol") {
      this.any(value);
      return;
    }
    const mark = this.#mark();
    try {
      this.any(value);
    } catch (error) {
      this.#depth = 0;
      if (error === notPlain) {
        this.#reset(mark);
        this.#opaqueRoot(value, name);
      } else if (error instanceof Refusal) {
        throw refusalError(value, name, error);
      } else if (error instanceof RangeError && !(error instanceof PolyrayError)) {
        throw new UnserializableError(
          `[cannot be sent] ${name}: the value is too large for one body (${error.message}). Use typed arrays or put it in parts.`,
          { path: name, cause: error },
        );
      } else throw error;
    }
  }

  /** Registers a top-level argument when it is a ref; gives its number, else -1. */
  argRef(value: unknown): number {
    if (typeof value !== "object" || value === null || Array.isArray(value) || isPlainObject(value))
      return -1;
    const id = this.ctx.refIdOf(value);
    return id === null ? -1 : this.ref(id);
  }

  /** Writes one argument: its ref when it is one, else its value. A position below 0 means a keyword. */
  arg(value: unknown, position: number, name: string): void {
    const refIndex = this.argRef(value);
    if (refIndex >= 0) this.extU32(Ext.argRef, refIndex);
    else if (typeof value === "number") this.number(value);
    else this.root(value, position < 0 ? name : `args[${position}]`);
  }

  /** Registers a ref and gives its index in the table. */
  ref(id: string): number {
    let index = this.#refIndex.get(id);
    if (index === undefined) {
      index = this.refs.length;
      this.refs.push(id);
      this.#refIndex.set(id, index);
    }
    return index;
  }

  /** Registers an out-of-band part; the same object is stored once. */
  part(value: OutOfBand): number {
    let index = this.#partIndex.get(value);
    if (index === undefined) {
      index = this.parts.length;
      this.parts.push(value);
      this.#partIndex.set(value, index);
    }
    return index;
  }

  /** The finished form of a value that was opened as one that passes: the envelope itself, when it is small. */
  passing(): Encoded | InPlace {
    const { pos } = this;
    if (this.refs.length > 0 || this.parts.length > 0 || pos > maxInPlace) return this.encoded();
    return inPlace.set(this.buf, pos, this.flags);
  }

  /** The finished form; only `release` may follow. */
  encoded(extraFlags = 0): Encoded {
    const moves = this.isPassing;
    return new Encoded(
      moves ? Buffer.from(this.buf.subarray(this.start, this.pos)) : this.buf,
      moves ? 0 : this.start,
      moves ? this.pos - this.start : this.pos,
      this.flags | extraFlags,
      this.refs.length > 0 ? this.refs : undefined, // an empty table goes on with the next value
      this.parts.length > 0 ? this.parts : undefined,
      this.argRefCount,
    );
  }

  #mark(): [number, number, number, number] {
    return [this.pos - this.start, this.refs.length, this.parts.length, this.flags];
  }

  #reset([used, refs, parts, flags]: [number, number, number, number]): void {
    this.pos = this.start + used;
    for (const id of this.refs.splice(refs)) this.#refIndex.delete(id);
    for (const part of this.parts.splice(parts)) this.#partIndex.delete(part as object);
    for (const [key, index] of this.#partIndex) if (index >= parts) this.#partIndex.delete(key);
    this.flags = flags;
  }

  #opaqueRoot(value: unknown, name: string): void {
    const fault = opaqueFault(value, this.ctx);
    if (fault !== null) throw refusalError(value, name, new Refusal(fault.value, fault.why));
    try {
      this.extU32(Ext.jsObject, this.part(v8Serialize(value)));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new UnserializableError(`[cannot be sent] ${name}: ${why}. Send plain data.`, {
        path: name,
        cause: error,
      });
    }
  }

  /** Tries a value; false (and nothing written) when it cannot be sent. */
  tryAny(value: unknown): boolean {
    const mark = this.#mark();
    const depth = this.#depth;
    try {
      this.any(value);
      return true;
    } catch {
      this.#depth = depth;
      this.#reset(mark);
      return false;
    }
  }

  any(value: unknown): void {
    switch (typeof value) {
      case "number":
        return this.number(value);
      case "string":
        return this.string(value);
      case "boolean":
        return this.boolean(value);
      case "undefined":
        return this.ext(Ext.undefined, empty);
      case "bigint":
        return this.#bigInt(value);
      case "object":
        return value === null ? this.nil() : this.#object(value);
      case "function":
        return this.#function(value as (...args: never[]) => unknown);
      default:
        throw new Refusal(value, "a symbol cannot be sent");
    }
  }

  #enter(value: object): void {
    const depth = this.#depth;
    if (depth >= 16) {
      if (depth >= limits.maxValueDepth) throw notPlain;
      for (let i = 0; i < depth; i++) if (this.#stack[i] === value) throw notPlain;
    }
    this.#stack[depth] = value;
    this.#depth = depth + 1;
  }

  #object(value: object): void {
    if (Array.isArray(value)) return this.#array(value);
    if (ArrayBuffer.isView(value)) return this.#view(value);
    if (isPlainObject(value)) return this.#record(value as Record<string, unknown>);
    const id = this.ctx.refIdOf(value);
    if (id !== null) return this.extU32(Ext.ref, this.ref(id));
    const handle = this.ctx.handleOf(value);
    if (handle !== null) return this.#handle(handle.ref, handle.meta);
    const codec = codecOf(value);
    if (codec !== null) return this.#codec(value, codec.tag, codec.encode(value));
    this.#builtIn(value);
  }

  #array(value: readonly unknown[]): void {
    this.#enter(value);
    const length = value.length;
    this.arrayHeader(length);
    for (let i = 0; i < length; i++) this.any(value[i]);
    this.#depth--;
  }

  #record(value: Record<string, unknown>): void {
    this.#enter(value);
    const keys = Object.keys(value);
    this.mapHeader(keys.length);
    for (const key of keys) {
      this.string(key);
      this.any(value[key]);
    }
    this.#depth--;
  }

  #handle(ref: string | null, meta: unknown): void {
    const mark = this.beginExt();
    this.arrayHeader(2);
    if (ref === null) this.nil();
    else this.number(this.ref(ref));
    this.any(meta);
    this.endExt(Ext.actorHandle, mark);
  }

  #codec(value: object, tag: string, payload: unknown): void {
    this.#enter(value);
    const mark = this.beginExt();
    this.arrayHeader(2);
    this.string(tag);
    this.any(payload);
    this.endExt(Ext.codec, mark);
    this.#depth--;
  }

  #view(value: ArrayBufferView): void {
    if (value instanceof Uint8Array || value instanceof DataView) return this.bytes(value);
    const array = value as ElementArray;
    const clamped = Object.prototype.toString.call(value) === "[object Uint8ClampedArray]";
    this.#ndArray(
      array,
      [array.length],
      dtypeOf(array),
      clamped ? NdKind.clamped : NdKind.typedArray,
    );
  }

  /** Bytes: short ones in the body, long ones out of band. */
  bytes(value: ArrayBufferView): void {
    const view = asBytes(value);
    if (view.length <= limits.inlineBufferBytes) this.binary(view);
    else this.extU32(Ext.buffer, this.#viewPart(value, view));
  }

  #viewPart(key: object, view: Uint8Array | Chunks): number {
    const known = this.#partIndex.get(key);
    if (known !== undefined) return known;
    const index = this.parts.length;
    this.parts.push(view);
    this.#partIndex.set(key, index);
    return index;
  }

  #ndArray(data: ElementArray, shape: readonly number[], dtype: string, kind: number): void {
    const mark = this.beginExt();
    this.arrayHeader(4);
    this.string(dtype);
    this.arrayHeader(shape.length);
    for (const n of shape) this.number(n);
    this.number(this.#viewPart(data, asBytes(data)));
    this.number(kind);
    this.endExt(Ext.ndArray, mark);
  }

  #bigInt(value: bigint): void {
    const safe = value >= -9007199254740991n && value <= 9007199254740991n;
    if (!safe && value > 0n && value < 1n << 64n) return this.bigInt64(0xcf, value);
    if (!safe && value < 0n && value >= -(1n << 63n)) return this.bigInt64(0xd3, value);
    this.ext(Ext.bigInt, bigIntBytes(value));
  }

  #function(value: (...args: never[]) => unknown): void {
    const id = this.ctx.refIdOf(value);
    if (id !== null) return this.extU32(Ext.ref, this.ref(id));
    const handle = this.ctx.handleOf(value);
    if (handle !== null) return this.#handle(handle.ref, handle.meta);
    const known = this.#partIndex.get(value);
    if (known !== undefined) return this.extU32(Ext.function, known);
    const payload = this.ctx.encodeFunction(value);
    const inner = encodeRoot(payload, this.ctx, value.name === "" ? "function" : value.name);
    this.flags |= inner.flags & flagArrow;
    for (const ref of inner.refs) this.ref(ref);
    const index = this.part(inner);
    this.#partIndex.set(value, index);
    this.extU32(Ext.function, index);
  }

  #builtIn(value: object): void {
    if (value instanceof Map || types.isMap(value))
      return this.#map(value as Map<unknown, unknown>);
    if (value instanceof Set || types.isSet(value)) return this.#set(value as Set<unknown>);
    if (types.isDate(value)) return this.#date(value);
    if (types.isRegExp(value)) return this.#regExp(value);
    if (value instanceof Error || types.isNativeError(value)) return this.error(value as Error);
    if (types.isAnyArrayBuffer(value)) return this.bytes(new Uint8Array(value));
    if (value instanceof NdArray)
      return this.#ndArray(value.data, value.shape, value.dtype, NdKind.ndArray);
    if (value instanceof PyObject) return this.#pyObject(value);
    if (value instanceof Complex)
      return this.ext(Ext.complex, asBytes(new Float64Array([value.re, value.im])));
    if (value instanceof CodecValue) return this.#codec(value, value.tag, value.payload);
    if (types.isBoxedPrimitive(value)) return this.any(value.valueOf());
    if (value instanceof ArrowValue) return this.#arrow(value.bytes, value.bytes, value.kind);
    const kind = arrowKindOf(value);
    if (kind !== null) return this.#arrow(value, new Chunks(arrowToChunks(value, kind)), kind);
    const own = (value as Record<symbol, unknown>)[encodeSymbol];
    if (typeof own === "function") return this.#replaced(value, own.call(value));
    throw new Refusal(value, `${describeValue(value)} cannot be sent`);
  }

  #replaced(value: object, plain: unknown): void {
    this.#enter(value);
    this.any(plain);
    this.#depth--;
  }

  #map(value: Map<unknown, unknown>): void {
    this.#enter(value);
    const mark = this.beginExt();
    this.arrayHeader(2 * value.size);
    for (const [key, item] of value) {
      this.any(key);
      this.any(item);
    }
    this.endExt(Ext.map, mark);
    this.#depth--;
  }

  #set(value: Set<unknown>): void {
    this.#enter(value);
    const mark = this.beginExt();
    this.arrayHeader(value.size);
    for (const item of value) this.any(item);
    this.endExt(Ext.set, mark);
    this.#depth--;
  }

  #date(value: Date): void {
    const ms = value.getTime();
    if (!(ms >= minDateMs && ms <= maxDateMs))
      return this.extU32(Ext.jsObject, this.part(v8Serialize(value)));
    this.ext(Ext.date, asBytes(new BigInt64Array([BigInt(ms) * 1000n])));
  }

  #regExp(value: RegExp): void {
    const mark = this.beginExt();
    this.arrayHeader(2);
    this.string(value.source);
    this.string(value.flags);
    this.endExt(Ext.regExp, mark);
  }

  /** An error with its cause, stack and own fields. */
  error(value: Error): void {
    this.#enter(value);
    this.record(errorRecord(value));
    this.#depth--;
  }

  /** An ERROR extension out of its fields; a field that cannot be sent is left out. */
  record(fields: ReadonlyMap<string, unknown>): void {
    const mark = this.beginExt();
    const count = this.pos - this.start;
    this.ensure(3);
    this.pos += 3; // map16 header, filled in below
    let written = 0;
    for (const [key, value] of fields) {
      const before = this.pos - this.start;
      this.string(key);
      if (key === "props" ? this.#tryProps(value as Record<string, unknown>) : this.tryAny(value))
        written++;
      else this.pos = this.start + before;
    }
    const at = this.start + count;
    this.buf[at] = 0xde;
    this.buf.writeUInt16BE(written, at + 1);
    this.endExt(Ext.error, mark);
  }

  #tryProps(props: Record<string, unknown>): boolean {
    const entries = Object.entries(props).filter(([, value]) => {
      const mark = this.#mark();
      const ok = this.tryAny(value);
      this.#reset(mark);
      return ok;
    });
    return entries.length > 0 && this.tryAny(Object.fromEntries(entries));
  }

  #arrow(value: object, stream: Uint8Array | Chunks, kind: number): void {
    this.flags |= flagArrow;
    const mark = this.beginExt();
    this.arrayHeader(2);
    this.number(this.#viewPart(value, stream));
    this.number(kind);
    this.endExt(Ext.arrow, mark);
  }

  #pyObject(value: PyObject): void {
    const mark = this.beginExt();
    this.arrayHeader(3);
    this.number(this.#pickleGroup(value));
    this.number(value.index);
    this.string(value.typeName);
    this.endExt(Ext.pyObject, mark);
  }

  // The group's own part: counts, buffer numbers, ref numbers, then the pickle as it came.
  #pickleGroup(value: PyObject): number {
    const group = value.group;
    const known = this.#partIndex.get(group);
    if (known !== undefined) return known;
    const index = this.parts.length;
    const tables = new Uint32Array(2 + group.buffers.length + group.refs.length);
    const bytes = new Uint8Array(tables.byteLength + group.pickle.length);
    this.parts.push(bytes);
    this.#partIndex.set(group, index);
    const numbers = [
      group.buffers.length,
      group.refs.length,
      ...group.buffers.map((buffer) => this.#viewPart(buffer, buffer)),
      ...group.refs.map((ref) => this.ref(ref)),
    ];
    tables.set(numbers);
    bytes.set(asBytes(tables), 0);
    bytes.set(group.pickle, tables.byteLength);
    return index;
  }
}

const empty = new Uint8Array(0);

/** Bytes of the largest envelope that is handed on in place. */
const maxInPlace = 64 * 1024;
const inPlace = new InPlace();

let idle: Encoder | null = null;

/** An encoder for one value; give it back with `release`, whatever happens. */
export function takeEncoder(ctx: EncodeContext, passes = false): Encoder {
  const encoder = idle ?? new Encoder();
  idle = null;
  encoder.open(ctx, passes);
  return encoder;
}

function asBytes(view: ArrayBufferView): Uint8Array {
  if (view instanceof Uint8Array) return view;
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Two's complement, little-endian, as few bytes as hold the sign. */
function bigIntBytes(value: bigint): Uint8Array {
  const magnitude = value < 0n ? -value - 1n : value;
  const bits = magnitude === 0n ? 0 : magnitude.toString(2).length;
  const bytes = Buffer.alloc(Math.floor(bits / 8) + 1);
  let hex = BigInt.asUintN(bytes.length * 8, value).toString(16);
  hex = hex.padStart(bytes.length * 2, "0");
  bytes.write(hex, 0, "hex");
  return bytes.reverse();
}

function refusalError(root: unknown, name: string, refusal: Refusal): UnserializableError {
  const path = findPath(root, refusal.value, name) ?? name;
  return new UnserializableError(
    `[cannot be sent] ${path}: ${refusal.why}. Send plain data, or register a codec for the class.`,
    { path },
  );
}

/** Encodes one root value. */
export function encodeRoot(value: unknown, ctx: EncodeContext, name: string, flags = 0): Encoded {
  const encoder = takeEncoder(ctx);
  try {
    encoder.root(value, name);
    return encoder.encoded(flags);
  } finally {
    encoder.release();
  }
}

/** The same for a value that is handed on before the next one is encoded. */
export function encodePassing(value: unknown, ctx: EncodeContext, name: string): Encoded | InPlace {
  const encoder = takeEncoder(ctx, true);
  try {
    encoder.root(value, name);
    return encoder.passing();
  } finally {
    encoder.release();
  }
}
