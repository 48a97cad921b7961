// SPDX-License-Identifier: Apache-2.0
// A call as a worker takes it out of its event record. Times come as what is left, since clocks of processes differ.

import { type CallExtras, extrasMark } from "../core/call.ts";
import { limits } from "../core/task-context.ts";
import { CallRec, Rec } from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";

/** One call, taken out of its event record. */
export interface Call {
  readonly number: number;
  readonly kind: number;
  readonly flags: number;
  readonly spec: number;
  readonly taskId: string;
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
  readonly payload: Uint8Array;
}

/** Copies the record that the reader stands at. */
export function readCall(reader: EventReader): Call {
  const text = reader.method();
  const mark = text.indexOf(extrasMark);
  return {
    number: reader.word(Rec.a),
    kind: reader.word(CallRec.kind),
    flags: reader.word(CallRec.flags),
    spec: reader.word(CallRec.spec),
    taskId: reader.id(),
    actorId: reader.actorId(),
    incarnation: reader.word(CallRec.incarnation),
    attempt: reader.word(CallRec.attempt),
    retriesLeft: reader.word(CallRec.retriesLeft) | 0,
    deadlineMs: endOf(reader.word(CallRec.leftMs)),
    returnCount: reader.word(CallRec.returnCount),
    method: mark < 0 ? text : text.slice(0, mark),
    extras: mark < 0 ? null : (JSON.parse(text.slice(mark + 1)) as CallExtras),
    payload: reader.payload(),
  };
}

function endOf(leftMs: number): number | null {
  if (leftMs === 0) return null;
  limits.any = true;
  return performance.now() + leftMs;
}
