// SPDX-License-Identifier: Apache-2.0
// Submitting one call: encode the arguments, hand them to the native client, make refs of the returns. The hot path.

import { makeError } from "../base/errors.ts";
import { CallFlag, envelopeRefs } from "../native/binding.ts";
import { ObjectRef } from "../object/ref.ts";
import {
  type EncodeContext,
  encodeArgsPassing,
  encodeError,
  InPlace,
} from "../object/serialize.ts";
import { type Carrier, takeTrace, withOptions } from "./call-options.ts";
import type { Connection } from "./connection.ts";
import { endStreams, type Given, handedOver } from "./handed-over.ts";
import { splitKwargs } from "./kwargs.ts";
import { limits, taskContext } from "./task-context.ts";
import type { RetryPlan } from "./types.ts";

/** What a call may ask beyond its function. */
export interface CallSettings {
  readonly numReturns: number;
  /** CallFlag */
  readonly flags: number;
  /** -2: those of the function. */
  readonly maxRetries: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | null;
  /** Method calls: what the actor's worker has to know of this call only ("" or the JSON of CallExtras). */
  readonly extras: string;
}

/** Options of one call of a method that the worker reads (behind the method's name). */
export interface CallExtras {
  readonly group?: string;
  readonly highWaterMark?: number;
  readonly name?: string;
  /** false: no retry after errors; true: after all; names: after those. */
  readonly retry?: boolean | readonly string[];
  readonly plan?: RetryPlan;
}

/** What separates a method's name from the extras of its call. */
export const extrasMark = "\0";

export const defaultCall: CallSettings = {
  numReturns: 1,
  flags: 0,
  maxRetries: -2,
  timeoutMs: 0,
  signal: null,
  extras: "",
};

/**
 * Encodes the arguments of a call, with the values of trailing kwargs and its trace; the streams among them:
 * handedOver.found.
 */
export function encodeCallArgs<E>(
  connection: Connection,
  args: readonly unknown[],
  trace: Carrier | null,
  encode: (
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>> | null,
    context: EncodeContext,
  ) => E,
): E {
  const outer = handedOver.streams;
  handedOver.streams = null;
  let encoded: E | null = null;
  try {
    const { positional, named } = splitKwargs(args);
    const kwargs = trace === null ? named : withOptions(named, { trace });
    encoded = encode(positional, kwargs, connection.store.context);
    return encoded;
  } finally {
    const found = handedOver.streams;
    handedOver.streams = outer;
    if (encoded === null) endStreams(found);
    handedOver.found = encoded === null ? null : found;
  }
}

// A call never has longer than the call that makes it. 0: no limit.
function deadline(settings: CallSettings): number {
  const own = Math.ceil(settings.timeoutMs);
  const end = limits.any ? (taskContext.getStore()?.deadlineMs ?? null) : null;
  if (end === null) return own;
  const left = Math.max(1, Math.ceil(end - performance.now()));
  return own === 0 ? left : Math.min(own, left);
}

/** Submits a task; refs of its returns (one, or a list). */
export function submitTask(
  connection: Connection,
  spec: number,
  args: readonly unknown[],
  settings: CallSettings,
): ObjectRef | ObjectRef[] {
  return submit(connection, spec, null, args, settings);
}

/** Submits an actor call. `actor`: the handle number of its lifetime object. */
export function submitActorCall(
  connection: Connection,
  actor: number,
  method: string,
  args: readonly unknown[],
  settings: CallSettings,
): ObjectRef | ObjectRef[] {
  const { extras } = settings;
  const asked = extras === "" ? method : method + extrasMark + extras;
  return submit(connection, actor, asked, args, settings);
}

// `target`: the spec of a task (method null), or the handle of the actor.
function submit(
  connection: Connection,
  target: number,
  method: string | null,
  args: readonly unknown[],
  settings: CallSettings,
): ObjectRef | ObjectRef[] {
  const { native, store } = connection;
  const trace = takeTrace();
  const encoded = encodeCallArgs(connection, args, trace, encodeArgsPassing);
  const given = handedOver.found;
  let handles: number | number[];
  try {
    const staged = store.stage(encoded);
    const { numReturns, maxRetries } = settings;
    const flags = trace === null ? settings.flags : settings.flags | CallFlag.hasOptions;
    try {
      const size = typeof staged === "number" ? 0 : encoded.size;
      const refs = encoded instanceof InPlace ? null : envelopeRefs;
      const ms = deadline(settings);
      handles =
        method === null
          ? native.submitTask(target, staged, size, refs, 0, numReturns, flags, maxRetries, ms)
          : native.submitActorCall(
              target,
              method,
              staged,
              size,
              refs,
              0,
              numReturns,
              flags,
              maxRetries,
              ms,
            );
    } finally {
      store.unstage(staged);
    }
  } catch (error) {
    endStreams(given);
    throw error;
  }
  store.flushSoon();
  return finish(connection, handles, settings, given, method !== null);
}

function finish(
  connection: Connection,
  handles: number | number[],
  settings: CallSettings,
  given: Given[] | null,
  ofMethod: boolean,
): ObjectRef | ObjectRef[] {
  const refs =
    typeof handles === "number"
      ? connection.store.refOf(handles)
      : handles.map((handle) => connection.store.refOf(handle));
  connection.executor?.submitted(typeof handles === "number" ? handles : (handles[0] as number));
  if (!Array.isArray(refs)) ObjectRef.madeBy(refs, null, ofMethod);
  else if (refs[0] !== undefined) {
    const { id } = refs[0];
    for (const ref of refs) ObjectRef.madeBy(ref, id, ofMethod);
  }
  if (given !== null) {
    const call = Array.isArray(refs) ? refs[0] : refs;
    if (call !== undefined) handedOver.bind?.(connection, call, ofMethod, given);
  }
  if (settings.signal !== null) {
    const first = Array.isArray(refs) ? refs[0] : refs;
    if (first !== undefined) cancelOnAbort(connection, first, settings.signal);
  }
  return refs;
}

function cancelOnAbort(connection: Connection, ref: ObjectRef, signal: AbortSignal): void {
  const onAbort = (): void => cancelCall(connection, ref, { reason: signal.reason });
  if (signal.aborted) return onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  // The listener lives as long as the call: it goes when the result is there.
  connection.store.wait([ref], 1).then(
    () => signal.removeEventListener("abort", onAbort),
    () => signal.removeEventListener("abort", onAbort),
  );
}

/** How to cancel. */
export interface CancelOptions {
  /** Ends the process that runs the task. Default false. */
  readonly force?: boolean;
  /** With `force`: milliseconds that the body has to end by itself. Default 0. */
  readonly graceMs?: number;
  /** Cancels the calls that it submitted too. Default true. */
  readonly recursive?: boolean;
  /** Why: `cause` of the TaskCancelledError. */
  readonly reason?: unknown;
}

/** Cancels the call that makes `ref`: queued calls settle at once, a running one is told. */
export function cancelCall(
  connection: Connection,
  ref: ObjectRef,
  options: CancelOptions = {},
): void {
  if (!connection.isOpen) return;
  const { graceMs = 0, force = false } = options;
  const asks = force && graceMs > 0;
  cancelHandle(connection, ObjectRef.handleOf(ref), asks ? { ...options, force: false } : options);
  if (!asks) return;
  const kill = ({ notReady }: { notReady: ObjectRef[] }): void => {
    if (notReady.length > 0) cancelCall(connection, ref, { ...options, graceMs: 0 });
  };
  connection.store.wait([ref], 1, { timeoutMs: graceMs }).then(kill, () => undefined);
}

/** As cancelCall, by the handle of the call's first return. */
export function cancelHandle(
  connection: Connection,
  handle: number,
  { force = false, recursive = true, reason }: CancelOptions,
): void {
  const { native, store } = connection;
  const id = native.idOf(handle);
  const error = makeError("TASK_CANCELLED", `the task of ${id} was cancelled`, {
    taskId: id,
    ...(reason === undefined ? {} : { cause: reason }),
  });
  native.cancel(handle, force, recursive, encodeError(error, store.context).toBytes());
  store.flushSoon();
}
