// SPDX-License-Identifier: Apache-2.0
// Small envelopes in memory that is used again (the event buffer, what reads gave): most hold one plain value, which is
// read where it lies. Everything else is copied first, since values stand on the memory of their envelope.
//
// The forms are those of docs/values.md; whatever is unusual, wrong bytes too, is left to serialize-decode.ts.

import { envelopeVersion, headerBytes } from "./envelope.ts";

/** Not a value that is read in place. */
export const notPlain: unique symbol = Symbol("not plain");

const f64 = new Float64Array(1);
const f64Bytes = new Uint8Array(f64.buffer);

/** Envelopes in a buffer. They start at multiples of four. */
export class SmallEnvelopes {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  #at = 0;
  #end = 0;

  constructor(buffer: ArrayBuffer) {
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** The envelope in memory of its own. */
  copy(start: number, length: number): Uint8Array {
    return this.bytes.slice(start, start + length);
  }

  /** The value, when it is null, a boolean, a number, short text or short bytes; else notPlain. */
  value(start: number, length: number): unknown {
    if (!this.#open(start, length)) return notPlain;
    const value = this.#item();
    return this.#at === this.#end ? value : notPlain;
  }

  /** The positional arguments of a call, when all of them are such values and there are no others; else null. */
  args(start: number, length: number): unknown[] | null {
    if (!this.#open(start, length) || this.#end - this.#at < 3) return null;
    const { bytes } = this;
    if (bytes[this.#at] !== 0x92 || bytes[this.#end - 1] !== 0xc0) return null;
    const count = (bytes[this.#at + 1] as number) - 0x90;
    if (count < 0 || count > 15) return null;
    this.#at += 2;
    this.#end--;
    const args: unknown[] = [];
    for (let i = 0; i < count; i++) {
      const arg = this.#item();
      if (arg === notPlain) return null;
      args.push(arg);
    }
    return this.#at === this.#end ? args : null;
  }

  // A header without flags, refs and buffers.
  #open(start: number, length: number): boolean {
    const { words } = this;
    const word = start >>> 2;
    this.#at = start + headerBytes;
    this.#end = start + length;
    return (
      length > headerBytes &&
      words[word] === envelopeVersion &&
      words[word + 1] === length - headerBytes &&
      words[word + 2] === 0 &&
      words[word + 3] === 0
    );
  }

  #item(): unknown {
    if (this.#at >= this.#end) return notPlain;
    const tag = this.bytes[this.#at++] as number;
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 256;
    if (tag >= 0xa0 && tag < 0xc0) return this.#text(tag & 31);
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary();
      case 0xcb:
        return this.#float();
      case 0xcc:
        return this.#unsigned(1);
      case 0xcd:
        return this.#unsigned(2);
      case 0xce:
        return this.#unsigned(4);
      default:
        return notPlain;
    }
  }

  /** Where `length` bytes lie; -1: not before the end. */
  #take(length: number): number {
    const at = this.#at;
    if (length > this.#end - at) return -1;
    this.#at = at + length;
    return at;
  }

  #text(length: number): unknown {
    const at = this.#take(length);
    if (at < 0) return notPlain;
    let text = "";
    for (let i = at; i < at + length; i++) {
      const code = this.bytes[i] as number;
      if (code > 127) return notPlain;
      text += String.fromCharCode(code);
    }
    return text;
  }

  #binary(): unknown {
    const size = this.#take(1);
    if (size < 0) return notPlain;
    const length = this.bytes[size] as number;
    const at = this.#take(length);
    if (at < 0) return notPlain;
    const value = new Uint8Array(length);
    for (let i = 0; i < length; i++) value[i] = this.bytes[at + i] as number;
    return value;
  }

  #float(): unknown {
    const at = this.#take(8);
    if (at < 0) return notPlain;
    for (let i = 0; i < 8; i++) f64Bytes[7 - i] = this.bytes[at + i] as number;
    return f64[0];
  }

  #unsigned(size: number): unknown {
    const at = this.#take(size);
    if (at < 0) return notPlain;
    let value = 0;
    for (let i = at; i < at + size; i++) value = value * 256 + (this.bytes[i] as number);
    return value;
  }
}
