// SPDX-License-Identifier: Apache-2.0
// Writes event records (layout: Rec and CallRec of ts/native/binding.ts) and hands them over, one at a time, each in a turn
// of its own: what the native addon does for a real runtime.

import { setImmediate } from "node:timers";
import { idToBytes } from "../base/ids.ts";
import { taskContext } from "../core/task-context.ts";
import { CallRec, EventKind, type EventSink, Rec } from "../native/binding.ts";

/** Fields of a record: words by their place; the rest by name. */
export interface RecordFields {
  readonly kind: number;
  readonly words?: Readonly<Record<number, number>>;
  readonly id?: string;
  readonly actorId?: string;
  readonly method?: string;
  readonly payload?: Uint8Array;
}

const utf8 = new TextEncoder();

export class Records {
  readonly buffer = new ArrayBuffer(64 * 1024);
  readonly #words = new Uint32Array(this.buffer);
  readonly #bytes = new Uint8Array(this.buffer);
  readonly #sink: EventSink;
  readonly #queue: (() => RecordFields | null)[] = [];
  #scheduled = false;
  closed = false;

  constructor(sink: EventSink) {
    this.#sink = sink;
  }

  /** Hands a record over in a later turn. `make` runs then; null: it is not wanted any more. */
  post(make: () => RecordFields | null): void {
    this.#queue.push(make);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not in the context of the call that posted it.
    taskContext.exit(() =>
      setImmediate(() => {
        this.#scheduled = false;
        for (let left = this.#queue.length; left > 0; left--) this.pump();
        if (this.#queue.length > 0) this.post(() => null);
      }),
    );
  }

  /** Hands one record over now. False when there is none. */
  pump(): boolean {
    const make = this.#queue.shift();
    if (make === undefined || this.closed) return false;
    const fields = make();
    if (fields !== null) taskContext.exit(() => this.#write(fields));
    return true;
  }

  #write(fields: RecordFields): void {
    const words = this.#words;
    const isCall = fields.kind === EventKind.call;
    const end = isCall ? CallRec.end : Rec.payload;
    words.fill(0, 0, end);
    words[Rec.kind] = fields.kind;
    for (const [at, value] of Object.entries(fields.words ?? {})) words[Number(at)] = value;
    if (fields.id !== undefined) this.#bytes.set(idToBytes(fields.id), Rec.id * 4);
    if (fields.actorId !== undefined) this.#bytes.set(idToBytes(fields.actorId), CallRec.actor * 4);
    let at = end * 4;
    if (isCall) {
      const method = utf8.encode(fields.method ?? "");
      words[CallRec.methodBytes] = method.length;
      this.#bytes.set(method, at);
      at += (method.length + 7) & ~7;
    }
    const payload = fields.payload ?? new Uint8Array(0);
    words[Rec.payloadBytes] = payload.length;
    const fits = at + payload.length <= this.#bytes.length;
    if (fits) this.#bytes.set(payload, at);
    else words[Rec.extra] = 1;
    const size = (at + (fits ? payload.length : 0) + 7) & ~7;
    words[Rec.bytes] = size;
    this.#sink(size, fits ? null : [payload]);
  }
}
