// SPDX-License-Identifier: Apache-2.0
// The envelope: the one byte format of every stored value, argument list and result (docs/values.md).
// Owns the header layout, the finished but unwritten form (`Encoded`) and the checked header reader.
// Invariants: (1) buffers start at multiples of 64 from the envelope's start; (2) the first `argRefCount` refs are
// the top-level ref arguments; (3) a reader never trusts a length or an offset that it has not checked.

import { CorruptValueError } from "../base/errors.ts";
import { idBytes, idFromBytes, writeId } from "../base/ids.ts";

/** Version byte of the format. */
export const envelopeVersion = 1;
/** Bytes before the tables. */
export const headerBytes = 16;
/** Flag: the value is an error that `get` throws. */
export const flagError = 1;
/** Flag: an Arrow value is inside, so a reader may load its Arrow library first. */
export const flagArrow = 2;
const knownFlags = flagError | flagArrow;
const align = 64;
const tableEntryBytes = 16;

/** Bytes that lie in many places and are written one after the other. */
export class Chunks {
  readonly size: number;
  readonly list: readonly Uint8Array[];

  constructor(list: readonly Uint8Array[]) {
    this.list = list;
    let size = 0;
    for (const chunk of list) size += chunk.byteLength;
    this.size = size;
  }
}

/** An out-of-band part: plain bytes, chunks, or another envelope that is written in place. */
export type OutOfBand = Uint8Array | Chunks | Encoded;

/** An envelope as pieces with ascending offsets; what lies between two of them is zero. */
export interface Pieces {
  readonly parts: Uint8Array[];
  readonly offsets: Float64Array;
}

/** Why bytes are not an envelope. */
export function corrupt(why: string): CorruptValueError {
  return new CorruptValueError(
    `[value corrupt] ${why}. Check that both sides run the same version; else report it.`,
  );
}

function alignUp(n: number): number {
  return Math.ceil(n / align) * align;
}

function sizeOf(part: OutOfBand): number {
  return part instanceof Uint8Array ? part.byteLength : part.size;
}

function putU32(target: Uint8Array, at: number, value: number): void {
  target[at] = value & 255;
  target[at + 1] = (value >>> 8) & 255;
  target[at + 2] = (value >>> 16) & 255;
  target[at + 3] = value >>> 24;
}

function putU64(target: Uint8Array, at: number, value: number): void {
  putU32(target, at, value >>> 0);
  putU32(target, at + 4, Math.floor(value / 2 ** 32));
}

function writeChunks(chunks: Chunks, target: Uint8Array, start: number): void {
  let at = start;
  for (const chunk of chunks.list) {
    target.set(chunk, at);
    at += chunk.byteLength;
  }
}

const noRefs: readonly string[] = [];
const noParts: readonly OutOfBand[] = [];

/** A value in envelope form, before it is copied to where it will live. Holds views on the caller's buffers. */
export class Encoded {
  /** All refs inside; the first `argRefCount` are top-level arguments. */
  readonly refs: readonly string[];
  /** Bytes that `writeTo` fills. */
  readonly size: number;
  readonly flags: number;
  readonly argRefCount: number;
  readonly #body: Uint8Array;
  readonly #bodyStart: number;
  readonly #bodyEnd: number;
  readonly #parts: readonly OutOfBand[];

  constructor(
    body: Uint8Array,
    bodyStart: number,
    bodyEnd: number,
    flags = 0,
    refs: readonly string[] = noRefs,
    parts: readonly OutOfBand[] = noParts,
    argRefCount = 0,
  ) {
    this.#body = body;
    this.#bodyStart = bodyStart;
    this.#bodyEnd = bodyEnd;
    this.#parts = parts;
    this.flags = flags;
    this.refs = refs;
    this.argRefCount = argRefCount;
    let size = headerBytes + (parts.length + refs.length) * tableEntryBytes + (bodyEnd - bodyStart);
    for (const part of parts) size = alignUp(size) + sizeOf(part);
    this.size = size;
  }

  /** Writes the envelope. REQUIRES: target has at least `size` bytes and starts at a multiple of 64 in the store. */
  writeTo(target: Uint8Array): void {
    if (target.length < this.size) throw new RangeError(`the envelope needs ${this.size} bytes`);
    const body = this.#body;
    const bodyLength = this.#bodyEnd - this.#bodyStart;
    const at = this.#writeHead(target);
    if (bodyLength <= 64) {
      for (let i = 0; i < bodyLength; i++) target[at + i] = body[this.#bodyStart + i] as number;
    } else {
      target.set(body.subarray(this.#bodyStart, this.#bodyEnd), at);
    }
    if (this.#parts.length > 0) this.#writeParts(target, at + bodyLength);
  }

  /** The envelope as pieces: what is big in it stays where it is until it is copied. */
  pieces(): Pieces {
    const parts: Uint8Array[] = [];
    const offsets: number[] = [];
    this.#collect(0, parts, offsets);
    return { parts, offsets: Float64Array.from(offsets) };
  }

  // Header and tables; gives where the body begins.
  #writeHead(target: Uint8Array): number {
    const parts = this.#parts;
    const refs = this.refs;
    const bodyLength = this.#bodyEnd - this.#bodyStart;
    target[0] = envelopeVersion;
    target[1] = this.flags;
    target[2] = this.argRefCount & 255;
    target[3] = this.argRefCount >>> 8;
    putU32(target, 4, bodyLength);
    putU32(target, 8, parts.length);
    putU32(target, 12, refs.length);
    let entry = headerBytes;
    let at = headerBytes + parts.length * tableEntryBytes;
    let end = at + refs.length * idBytes + bodyLength;
    for (const part of parts) {
      const start = alignUp(end);
      const size = sizeOf(part);
      putU64(target, entry, start);
      putU64(target, entry + 8, size);
      entry += tableEntryBytes;
      end = start + size;
    }
    for (const ref of refs) {
      writeId(ref, target, at);
      at += idBytes;
    }
    return at;
  }

  #writeParts(target: Uint8Array, from: number): void {
    let at = from;
    for (const part of this.#parts) {
      const start = alignUp(at);
      target.fill(0, at, start);
      at = start + sizeOf(part);
      if (part instanceof Uint8Array) target.set(part, start);
      else if (part instanceof Encoded) part.writeTo(target.subarray(start, at));
      else writeChunks(part, target, start);
    }
  }

  #collect(base: number, parts: Uint8Array[], offsets: number[]): void {
    const tables = this.#parts.length * tableEntryBytes + this.refs.length * idBytes;
    const head = new Uint8Array(headerBytes + tables);
    this.#writeHead(head);
    let at = base + head.length + this.#bodyEnd - this.#bodyStart;
    parts.push(head, this.#body.subarray(this.#bodyStart, this.#bodyEnd));
    offsets.push(base, base + head.length);
    for (const part of this.#parts) {
      at = base + alignUp(at - base);
      if (part instanceof Encoded) part.#collect(at, parts, offsets);
      else {
        let start = at;
        for (const chunk of part instanceof Chunks ? part.list : [part]) {
          parts.push(chunk);
          offsets.push(start);
          start += chunk.byteLength;
        }
      }
      at += sizeOf(part);
    }
  }

  /** The envelope in memory of its own. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.size);
    this.writeTo(bytes);
    return bytes;
  }
}

/** A whole envelope at the start of `bytes`, valid until the next value is encoded. */
export class InPlace {
  size = 0;
  bytes: Uint8Array = new Uint8Array(0);

  /** Writes the header of an envelope without tables before its body. */
  set(bytes: Uint8Array, size: number, flags: number): this {
    bytes[0] = envelopeVersion;
    bytes[1] = flags;
    bytes[2] = 0;
    bytes[3] = 0;
    putU32(bytes, 4, size - headerBytes);
    putU32(bytes, 8, 0);
    putU32(bytes, 12, 0);
    this.bytes = bytes;
    this.size = size;
    return this;
  }
}

/** A checked header. Offsets count from the start of `bytes`. */
export interface Header {
  readonly flags: number;
  readonly argRefCount: number;
  readonly bufferCount: number;
  readonly refCount: number;
  readonly refsStart: number;
  readonly bodyStart: number;
  readonly bodyEnd: number;
}

function getU32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

/** Reads and checks the header; throws CorruptValueError. */
export function readHeader(bytes: Uint8Array): Header {
  if (bytes.length < headerBytes) throw corrupt(`${bytes.length} bytes are no envelope`);
  if (bytes[0] !== envelopeVersion) throw corrupt(`envelope version ${bytes[0]} is unknown`);
  const flags = bytes[1] as number;
  if ((flags & ~knownFlags) !== 0) throw corrupt(`envelope flags ${flags} are unknown`);
  const argRefCount = (bytes[2] as number) | ((bytes[3] as number) << 8);
  const bodyLength = getU32(bytes, 4);
  const bufferCount = getU32(bytes, 8);
  const refCount = getU32(bytes, 12);
  const refsStart = headerBytes + bufferCount * tableEntryBytes;
  const bodyStart = refsStart + refCount * idBytes;
  const bodyEnd = bodyStart + bodyLength;
  if (bodyEnd > bytes.length) throw corrupt("the envelope is cut off");
  if (argRefCount > refCount) throw corrupt("more argument refs than refs");
  return { flags, argRefCount, bufferCount, refCount, refsStart, bodyStart, bodyEnd };
}

/** The buffer of a table entry, as a view; throws CorruptValueError. */
export function bufferAt(bytes: Uint8Array, header: Header, index: number): Uint8Array {
  if (index >= header.bufferCount) throw corrupt(`there is no buffer ${index}`);
  const entry = headerBytes + index * tableEntryBytes;
  const start = getU32(bytes, entry) + getU32(bytes, entry + 4) * 2 ** 32;
  const size = getU32(bytes, entry + 8) + getU32(bytes, entry + 12) * 2 ** 32;
  if (start % align !== 0 || start < header.bodyEnd || start + size > bytes.length) {
    throw corrupt(`buffer ${index} lies outside of the envelope`);
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, size);
}

/** The ref of a table entry; throws CorruptValueError. */
export function refAt(bytes: Uint8Array, header: Header, index: number): string {
  if (index >= header.refCount) throw corrupt(`there is no ref ${index}`);
  return idFromBytes(bytes, header.refsStart + index * idBytes);
}

/** All refs inside an envelope. */
export function envelopeRefs(bytes: Uint8Array): string[] {
  const header = readHeader(bytes);
  return Array.from({ length: header.refCount }, (_, i) => refAt(bytes, header, i));
}

/** The refs given as top-level arguments: those whose values the receiver needs before it starts. */
export function envelopeArgRefs(bytes: Uint8Array): string[] {
  const header = readHeader(bytes);
  return Array.from({ length: header.argRefCount }, (_, i) => refAt(bytes, header, i));
}

/** True when the value is an error that `get` throws. */
export function isErrorEnvelope(bytes: Uint8Array): boolean {
  return (readHeader(bytes).flags & flagError) !== 0;
}

/** True when an Arrow value is inside. */
export function hasArrow(bytes: Uint8Array): boolean {
  return (readHeader(bytes).flags & flagArrow) !== 0;
}
