// SPDX-License-Identifier: Apache-2.0
// MessagePack writing into a pooled buffer. Hand-written because each call encodes one envelope: the library in
// bench takes microseconds for a number, loses -0, Map and undefined, and cannot share one body with buffers.
// Owns the pool chunk, and the memory of values that are handed on at once. Invariants: (1) at most one writer uses either, a
// nested one gets memory of its own;
// (2) extension headers have the shortest form, so that both languages write the same bytes.

const chunkBytes = 64 * 1024;
let chunk: Buffer = Buffer.allocUnsafeSlow(chunkBytes);
let chunkPos = 0;
let chunkBusy = false;

/** Memory of envelopes that are handed on before the next one is written. */
const passing = Buffer.allocUnsafeSlow(chunkBytes);
let passingBusy = false;

/** So many are copied faster one by one than by a call of the engine. */
const shortBytes = 64;

const f64 = new Float64Array(1);
const f64Bytes = new Uint8Array(f64.buffer);

/**
 * A growing MessagePack text. After `finish`, `buf[start, pos)` is the text and is never written again; after `beginPassing`
 * it is, by the next one.
 */
export class Writer {
  buf: Buffer = chunk;
  start = 0;
  pos = 0;
  #pooled = false;
  #passing = false;
  /** Bytes kept free before the text, also when it moves. */
  #lead = 0;

  /** Takes memory for a new text that is handed on at once, with `lead` bytes before it, from the start of `buf` on. */
  beginPassing(lead: number): void {
    this.#lead = lead;
    this.#passing = !passingBusy;
    if (this.#passing) passingBusy = true;
    this.buf = this.#passing ? passing : Buffer.allocUnsafeSlow(512);
    this.start = lead;
    this.pos = lead;
  }

  /** Whether the next text may overwrite this one. */
  get isPassing(): boolean {
    return this.buf === passing;
  }

  /** Takes memory for a new text. */
  begin(): void {
    this.#lead = 0;
    this.#pooled = !chunkBusy;
    if (this.#pooled) {
      chunkBusy = true;
      if (chunkPos > chunkBytes - 512) {
        chunk = Buffer.allocUnsafeSlow(chunkBytes);
        chunkPos = 0;
      }
      this.buf = chunk;
      this.start = chunkPos;
    } else {
      this.buf = Buffer.allocUnsafeSlow(512);
      this.start = 0;
    }
    this.pos = this.start;
  }

  /** Gives the pool back. REQUIRES: called once after each `begin` or `beginPassing`, whatever happens. */
  finish(): void {
    if (this.#passing) {
      this.#passing = false;
      passingBusy = false;
    }
    if (!this.#pooled) return;
    this.#pooled = false;
    chunkBusy = false;
    if (this.buf === chunk) chunkPos = this.pos;
  }

  #grow(need: number): void {
    const used = this.pos - this.start;
    const lead = this.#lead;
    const bigger = Buffer.allocUnsafeSlow(Math.max(2 * (used + need), 4096));
    this.buf.copy(bigger, lead, this.start, this.pos);
    this.buf = bigger;
    this.start = lead;
    this.pos = lead + used;
  }

  ensure(bytes: number): void {
    if (this.pos + bytes > this.buf.length) this.#grow(bytes);
  }

  byte(value: number): void {
    this.ensure(1);
    this.buf[this.pos++] = value;
  }

  nil(): void {
    this.byte(0xc0);
  }

  boolean(value: boolean): void {
    this.byte(value ? 0xc3 : 0xc2);
  }

  #tagged16(tag: number, value: number): void {
    this.ensure(3);
    const { buf, pos } = this;
    buf[pos] = tag;
    buf[pos + 1] = value >>> 8;
    buf[pos + 2] = value & 255;
    this.pos = pos + 3;
  }

  #tagged32(tag: number, value: number): void {
    this.ensure(5);
    this.buf[this.pos] = tag;
    this.buf.writeUInt32BE(value >>> 0, this.pos + 1);
    this.pos += 5;
  }

  /** A number: an integer when it is a safe integer and not -0, else a float64. */
  number(value: number): void {
    if (Number.isSafeInteger(value) && (value !== 0 || 1 / value > 0)) this.#integer(value);
    else this.float(value);
  }

  #integer(value: number): void {
    if (value >= 0) {
      if (value < 128) this.byte(value);
      else if (value < 256) {
        this.ensure(2);
        this.buf[this.pos++] = 0xcc;
        this.buf[this.pos++] = value;
      } else if (value < 65536) this.#tagged16(0xcd, value);
      else if (value < 2 ** 32) this.#tagged32(0xce, value);
      else this.bigInt64(0xcf, BigInt(value));
    } else if (value >= -32) this.byte(value & 255);
    else if (value >= -128) {
      this.ensure(2);
      this.buf[this.pos++] = 0xd0;
      this.buf[this.pos++] = value & 255;
    } else if (value >= -32768) this.#tagged16(0xd1, value & 0xffff);
    else if (value >= -(2 ** 31)) this.#tagged32(0xd2, value);
    else this.bigInt64(0xd3, BigInt(value));
  }

  /** 0xcf unsigned or 0xd3 signed, 64 bits. */
  bigInt64(tag: 0xcf | 0xd3, value: bigint): void {
    this.ensure(9);
    this.buf[this.pos] = tag;
    this.buf.writeBigUInt64BE(BigInt.asUintN(64, value), this.pos + 1);
    this.pos += 9;
  }

  float(value: number): void {
    this.ensure(9);
    f64[0] = value;
    const { buf, pos } = this;
    buf[pos] = 0xcb;
    for (let i = 0; i < 8; i++) buf[pos + 1 + i] = f64Bytes[7 - i] as number;
    this.pos = pos + 9;
  }

  string(value: string): void {
    const length = value.length;
    if (length < 32) {
      this.ensure(1 + length);
      const { buf, pos } = this;
      let i = 0;
      for (; i < length; i++) {
        const c = value.charCodeAt(i);
        if (c > 127) break;
        buf[pos + 1 + i] = c;
      }
      if (i === length) {
        buf[pos] = 0xa0 | length;
        this.pos = pos + 1 + length;
        return;
      }
    }
    this.#longString(value);
  }

  #longString(value: string): void {
    const bytes = Buffer.byteLength(value);
    if (bytes < 32) this.byte(0xa0 | bytes);
    else this.#sized(bytes, 0xd9, 0xda, 0xdb);
    this.ensure(bytes);
    if (bytes === value.length) this.buf.write(value, this.pos, "latin1");
    else if (isWellFormed(value)) this.buf.write(value, this.pos, "utf8");
    else this.#wtf8(value);
    this.pos += bytes;
  }

  // A lone surrogate becomes the three bytes that UTF-8 would give its number, as Python's "surrogatepass" does.
  #wtf8(value: string): void {
    let at = this.pos;
    for (const char of value) {
      const code = char.codePointAt(0) as number;
      if (code >= 0xd800 && code <= 0xdfff) {
        this.buf[at++] = 0xe0 | (code >> 12);
        this.buf[at++] = 0x80 | ((code >> 6) & 63);
        this.buf[at++] = 0x80 | (code & 63);
      } else at += this.buf.write(char, at, "utf8");
    }
  }

  #sized(length: number, tag8: number, tag16: number, tag32: number): void {
    if (length < 256) {
      this.ensure(2);
      this.buf[this.pos++] = tag8;
      this.buf[this.pos++] = length;
    } else if (length < 65536) this.#tagged16(tag16, length);
    else this.#tagged32(tag32, length);
  }

  binary(bytes: Uint8Array): void {
    this.#sized(bytes.length, 0xc4, 0xc5, 0xc6);
    this.ensure(bytes.length);
    if (bytes.length > shortBytes) this.buf.set(bytes, this.pos);
    else for (let i = 0; i < bytes.length; i++) this.buf[this.pos + i] = bytes[i] as number;
    this.pos += bytes.length;
  }

  arrayHeader(length: number): void {
    if (length < 16) this.byte(0x90 | length);
    else if (length < 65536) this.#tagged16(0xdc, length);
    else this.#tagged32(0xdd, length);
  }

  mapHeader(length: number): void {
    if (length < 16) this.byte(0x80 | length);
    else if (length < 65536) this.#tagged16(0xde, length);
    else this.#tagged32(0xdf, length);
  }

  /** An extension that holds one little-endian u32. */
  extU32(type: number, value: number): void {
    this.ensure(6);
    this.buf[this.pos] = 0xd6;
    this.buf[this.pos + 1] = type;
    this.buf.writeUInt32LE(value, this.pos + 2);
    this.pos += 6;
  }

  /** An extension with given bytes. */
  ext(type: number, data: Uint8Array): void {
    const mark = this.beginExt();
    this.ensure(data.length);
    this.buf.set(data, this.pos);
    this.pos += data.length;
    this.endExt(type, mark);
  }

  /** Leaves room for an extension header; what is written until `endExt` is its data. */
  beginExt(): number {
    this.ensure(6);
    this.pos += 6;
    return this.pos - 6 - this.start;
  }

  endExt(type: number, mark: number): void {
    const at = this.start + mark;
    const length = this.pos - at - 6;
    const buf = this.buf;
    const fixed = fixedTag(length);
    const header = fixed !== 0 ? 2 : length < 256 ? 3 : length < 65536 ? 4 : 6;
    if (header < 6) buf.copyWithin(at + header, at + 6, this.pos);
    this.pos = at + header + length;
    if (fixed !== 0) buf[at] = fixed;
    else if (header === 3) {
      buf[at] = 0xc7;
      buf[at + 1] = length;
    } else if (header === 4) {
      buf[at] = 0xc8;
      buf.writeUInt16BE(length, at + 1);
    } else {
      buf[at] = 0xc9;
      buf.writeUInt32BE(length, at + 1);
    }
    buf[at + header - 1] = type;
  }
}

// In Node 20, but not yet in the TypeScript library of this project.
function isWellFormed(value: string): boolean {
  return (value as string & { isWellFormed(): boolean }).isWellFormed();
}

function fixedTag(length: number): number {
  switch (length) {
    case 1:
      return 0xd4;
    case 2:
      return 0xd5;
    case 4:
      return 0xd6;
    case 8:
      return 0xd7;
    case 16:
      return 0xd8;
    default:
      return 0;
  }
}
