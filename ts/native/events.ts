// SPDX-License-Identifier: Apache-2.0
// Reads the event records of a batch (layout: Rec and CallRec in binding.ts).
//
// One reader per attach; it walks the shared event buffer without allocating. `words` and `base`
// are open, for consumers that read more
// fields: words[base + Rec.x]. Bytes that outlive the sink call must be copied: `payload()` gives a
// copy, `payloadView()` a view.
// Invariant: a reader is used only inside the sink call that it walks.

import { idFromBytes } from "../base/ids.ts";
import { type AttachInfo, CallRec, EventKind, Rec } from "./binding.ts";

const { utf8Slice } = Buffer.prototype as unknown as {
  utf8Slice(this: Uint8Array, start: number, end: number): string;
};

const knownNames = 8;
/** Bytes of the longest name that is kept. */
const longestKnown = 64;

/** A cursor over the records of one batch. */
export class EventReader {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  /** Index of the current record's first word. */
  base = 0;
  #end = 0;
  #next = 0;
  #extras: readonly Uint8Array[] | null = null;
  /** Names of methods that came lately: a known text is found faster than it is made. */
  readonly #names: string[] = [];
  #nextName = 0;

  constructor(info: AttachInfo) {
    this.words = new Uint32Array(info.events);
    this.bytes = new Uint8Array(info.events);
  }

  /** Starts a batch. */
  begin(bytes: number, extras: readonly Uint8Array[] | null): void {
    this.#end = bytes >>> 2;
    this.#next = 0;
    this.#extras = extras;
  }

  /** Moves to the next record. False at the end. */
  next(): boolean {
    if (this.#next >= this.#end) return false;
    this.base = this.#next;
    this.#next += this.word(Rec.bytes) >>> 2;
    return true;
  }

  /** A word of the record. */
  word(at: number): number {
    return this.words[this.base + at] as number;
  }

  /** EventKind of the record. */
  get kind(): number {
    return this.word(Rec.kind);
  }

  /** The event's id, as hex. */
  id(): string {
    return idFromBytes(this.bytes, (this.base + Rec.id) * 4);
  }

  /** The actor's id of a call record. */
  actorId(): string {
    return idFromBytes(this.bytes, (this.base + CallRec.actor) * 4);
  }

  /** The method's name of a call record. */
  method(): string {
    const start = (this.base + CallRec.end) * 4;
    const bytes = this.word(CallRec.methodBytes);
    if (bytes === 0) return "";
    for (const name of this.#names)
      if (name.length === bytes && this.#stands(name, start)) return name;
    const name = utf8Slice.call(this.bytes, start, start + bytes);
    // ASCII only: the bytes are its characters then.
    if (bytes <= longestKnown && name.length === bytes)
      this.#names[this.#nextName++ % knownNames] = name;
    return name;
  }

  #stands(name: string, start: number): boolean {
    for (let i = 0; i < name.length; i++)
      if (this.bytes[start + i] !== name.charCodeAt(i)) return false;
    return true;
  }

  /** Whether the payload is too big for the event buffer. */
  get hasExtra(): boolean {
    return this.word(Rec.extra) !== 0;
  }

  /** Where the payload starts in the event buffer. */
  get payloadStart(): number {
    return this.kind === EventKind.call
      ? (this.base + CallRec.end) * 4 + ((this.word(CallRec.methodBytes) + 7) & ~7)
      : (this.base + Rec.payload) * 4;
  }

  /**
   * The payload in the event buffer: valid until the sink returns (or memory of its own, when it
   * was big).
   */
  payloadView(): Uint8Array {
    const extra = this.word(Rec.extra);
    if (extra !== 0) return this.#extras?.[extra - 1] as Uint8Array;
    const start = this.payloadStart;
    return this.bytes.subarray(start, start + this.word(Rec.payloadBytes));
  }

  /** The payload in memory of its own. */
  payload(): Uint8Array {
    const view = this.payloadView();
    return this.hasExtra ? view : view.slice();
  }
}
