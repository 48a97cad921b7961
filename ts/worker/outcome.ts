// SPDX-License-Identifier: Apache-2.0
// How a call is answered: its value or values, what it threw, or the runtime's own reason. Each call is answered once: its
// caller here (executor.ts) sees to that.

import { makeError, PolyrayError } from "../base/errors.ts";
import type { Connection } from "../core/connection.ts";
import type { TaskContext } from "../core/task-context.ts";
import { CallKind, ReplyStatus } from "../native/binding.ts";
import { decode, encodeError, encodePassing, encodeTaskError } from "../object/serialize.ts";
import type { Call } from "./call.ts";

/** Where a call ran, for the fields of errors. */
export function placeOf(connection: Connection, call: Call, taskName: string) {
  return {
    taskName,
    taskId: call.taskId,
    actorId: call.kind === CallKind.task ? null : call.actorId,
    nodeId: connection.place.nodeId,
    pid: process.pid,
  };
}

/** Answers with a value, or the values of numReturns. Throws when one cannot be sent or their number is wrong. */
export function replyValue(
  connection: Connection,
  call: Call,
  context: TaskContext,
  value: unknown,
): void {
  const { store, native } = connection;
  if (call.returnCount === 1) {
    store.replyWith(call.number, encodePassing(value, store.context, "the result"), ReplyStatus.ok);
    return;
  }
  for (const [index, one] of tupleOf(value, call.returnCount, context.taskName).entries())
    store.sealReturn(call.number, index, store.encode(one, `result[${index}]`), false);
  native.reply(call.number, ReplyStatus.ok);
}

/** Answers with an error of polyray's own, or with what the function threw. */
export function replyError(
  connection: Connection,
  call: Call,
  own: PolyrayError | null,
  thrown: unknown,
  name: string,
): void {
  const { store, native } = connection;
  const encoded =
    own !== null
      ? encodeError(own, store.context)
      : encodeTaskError(thrown, placeOf(connection, call, name), store.context);
  const status = own?.code === "TASK_CANCELLED" ? ReplyStatus.cancelled : ReplyStatus.error;
  if (call.returnCount === 1) {
    store.replyWith(call.number, encoded, status);
    return;
  }
  for (let index = 0; index < call.returnCount; index++)
    store.sealReturn(call.number, index, encoded, true);
  native.reply(call.number, status);
}

/** The error of a call that its caller has cancelled; a reason of the caller's own is its cause. */
export function cancelledError(
  connection: Connection,
  call: Call,
  context: TaskContext,
): PolyrayError {
  const reason: unknown = context.abort.controller?.signal.reason;
  const own = reason instanceof PolyrayError && reason.code === "TASK_CANCELLED";
  return makeError("TASK_CANCELLED", `${context.taskName} was cancelled while it ran`, {
    ...placeOf(connection, call, context.taskName),
    ...(own ? {} : { cause: reason }),
  });
}

/** The reason that the caller of cancel gave: the cause of its error. */
export function reasonOf(connection: Connection, envelope: Uint8Array): unknown {
  if (envelope.length === 0) return undefined;
  try {
    return (decode(envelope, connection.store.context) as Error).cause;
  } catch {
    return undefined; // a reason of a class that this process cannot read
  }
}

/** The error of a call that ran past its time limit. */
export function timedOut(context: TaskContext): PolyrayError | null {
  const reason: unknown =
    context.abort.controller?.signal.aborted === true
      ? context.abort.controller.signal.reason
      : null;
  return reason instanceof PolyrayError && reason.code === "TASK_TIMEOUT" ? reason : null;
}

function tupleOf(value: unknown, count: number, name: string): unknown[] {
  if (Array.isArray(value) && value.length === count) return value;
  const got = Array.isArray(value) ? `an array of ${value.length}` : typeof value;
  throw makeError(
    "INVALID_ARGUMENT",
    `${name} has numReturns ${count}, so it must return an array of ${count} values, not ${got}`,
  );
}
