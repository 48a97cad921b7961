// SPDX-License-Identifier: Apache-2.0
// A call as a worker takes it out of its event record, and its place among those that run. Times come as what is left, since
// clocks of processes differ.

import { idOfWords } from "../base/ids.ts";
import { type CallExtras, extrasMark } from "../core/call.ts";
import { limits, type TaskContext } from "../core/task-context.ts";
import { CallKind, CallRec, Rec } from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";
import type { SmallEnvelopes } from "../object/plain.ts";
import type { Pool } from "./pools.ts";
import type { StreamState } from "./stream.ts";

/** The id of a call, which becomes text when somebody asks for it. */
export class TaskIdText {
  readonly #a: number;
  readonly #b: number;
  readonly #c: number;
  readonly #d: number;
  #text: string | null = null;

  constructor(reader: EventReader) {
    this.#a = reader.word(Rec.id) | 0;
    this.#b = reader.word(Rec.id + 1) | 0;
    this.#c = reader.word(Rec.id + 2) | 0;
    this.#d = reader.word(Rec.id + 3) | 0;
  }

  get text(): string {
    this.#text ??= idOfWords(this.#a, this.#b, this.#c, this.#d);
    return this.#text;
  }
}

/** One call, taken out of its event record. */
export class Call {
  readonly number: number;
  readonly kind: number;
  readonly flags: number;
  readonly spec: number;
  readonly task: TaskIdText;
  /** "" for tasks. */
  readonly actorId: string;
  readonly incarnation: number;
  readonly attempt: number;
  readonly retriesLeft: number;
  /** When its time limit ends (performance.now()). */
  readonly deadlineMs: number | null;
  readonly returnCount: number;
  readonly method: string;
  /** Options of this call of a method. */
  readonly extras: CallExtras | null;
  /** Its arguments; null: they are in `payload`. */
  readonly args: unknown[] | null;
  readonly payload: Uint8Array | null;
  /** While it runs: its pool, what its body sees, its place in the list of those that run (-1: it does not). */
  pool: Pool | null = null;
  context: TaskContext | null = null;
  stream: StreamState | null = null;
  place = -1;

  /**
   * Copies the record that the reader stands at. `ownActor`: the id of this process's actor, whose calls come here.
   */
  constructor(reader: EventReader, envelopes: SmallEnvelopes, ownActor: string | null) {
    const text = reader.method();
    const mark = text.indexOf(extrasMark);
    this.number = reader.word(Rec.a);
    this.kind = reader.word(CallRec.kind);
    this.flags = reader.word(CallRec.flags);
    this.spec = reader.word(CallRec.spec);
    if (this.kind === CallKind.task) this.actorId = "";
    else
      this.actorId =
        this.kind === CallKind.actorCall && ownActor !== null ? ownActor : reader.actorId();
    this.incarnation = reader.word(CallRec.incarnation);
    this.attempt = reader.word(CallRec.attempt);
    this.retriesLeft = reader.word(CallRec.retriesLeft) | 0;
    this.deadlineMs = endOf(reader.word(CallRec.leftMs));
    this.returnCount = reader.word(CallRec.returnCount);
    this.method = mark < 0 ? text : text.slice(0, mark);
    this.extras = mark < 0 ? null : (JSON.parse(text.slice(mark + 1)) as CallExtras);
    this.args = reader.hasExtra
      ? null
      : envelopes.args(reader.payloadStart, reader.word(Rec.payloadBytes));
    this.payload = this.args === null ? reader.payload() : null;
    this.task = new TaskIdText(reader);
  }

  get taskId(): string {
    return this.task.text;
  }

  get isRunning(): boolean {
    return this.place >= 0;
  }
}

function endOf(leftMs: number): number | null {
  if (leftMs === 0) return null;
  limits.any = true;
  return performance.now() + leftMs;
}
