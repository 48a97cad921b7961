// SPDX-License-Identifier: Apache-2.0
// Objects: get, put, wait, release, cancel and what else works on refs. Thin over the store; in a worker a get that has to
// wait gives the task's resources back meanwhile.

import { InvalidOptionError, makeError } from "../base/errors.ts";
import { type CancelOptions, cancelCall } from "../core/call.ts";
import { checkOptions, checks } from "../core/checks.ts";
import type { Connection } from "../core/connection.ts";
import { connection } from "../core/context.ts";
import { RefStream } from "../core/streams.ts";
import { taskContext } from "../core/task-context.ts";
import type { ObjectRefStream, WaitOptions } from "../core/types.ts";
import { ObjectStatus } from "../native/binding.ts";
import { handlesOf, ObjectRef } from "../object/ref.ts";
import { isPlainObject } from "../object/serialize-path.ts";
import { bind } from "./transfer.ts";
import { type Waitable, waitMixed } from "./wait-mixed.ts";
import { checkWaitOptions } from "./wait-options.ts";

type AnyRef = ObjectRef<unknown>;
/** The value of a ref. */
export type ValueOf<R> = R extends ObjectRef<infer V> ? V : never;

/**
 * The value of a ref, or the values of a tuple, an array or a record of refs. Rejects with the task's error (TaskError),
 * GetTimeoutError, or the signal's reason; time limit and signal end only the wait.
 */
export function get<T>(ref: ObjectRef<T>, options?: WaitOptions): Promise<T>;
export function get<const T extends readonly AnyRef[]>(
  refs: T,
  options?: WaitOptions,
): Promise<{ -readonly [K in keyof T]: ValueOf<T[K]> }>;
export function get<T extends Readonly<Record<string, AnyRef>>>(
  refs: T,
  options?: WaitOptions,
): Promise<{ -readonly [K in keyof T]: ValueOf<T[K]> }>;
export function get(what: unknown, options?: WaitOptions): Promise<unknown> {
  try {
    const limits = options === undefined ? null : checkWaitOptions(options, "get");
    const current = connection();
    const { store } = current;
    if (what instanceof ObjectRef) {
      if (current.executor === null) return store.get(what, limits);
      const waits = store.status(what) === ObjectStatus.pending;
      return waits ? current.whileBlocked(() => store.get(what, limits)) : store.get(what, limits);
    }
    if (Array.isArray(what)) {
      checkRefs(what, "get");
      const promise = store.getAll(what as AnyRef[], limits);
      return current.executor === null || allSettled(current, what as AnyRef[])
        ? promise
        : current.whileBlocked(() => promise);
    }
    if (typeof what === "object" && what !== null && isPlainObject(what))
      return getRecord(what as Record<string, unknown>, options);
    throw notRef(what, "get");
  } catch (error) {
    return Promise.reject(error);
  }
}

async function getRecord(
  refs: Record<string, unknown>,
  options: WaitOptions | undefined,
): Promise<Record<string, unknown>> {
  const names = Object.keys(refs);
  for (const name of names) checkRef(refs[name], `get: "${name}"`);
  const values = (await get(Object.values(refs) as AnyRef[], options)) as unknown[];
  return Object.fromEntries(names.map((name, index) => [name, values[index]]));
}

function notRef(value: unknown, where: string): Error {
  const isThenable = typeof (value as { then?: unknown } | null)?.then === "function";
  const what = isThenable
    ? "a promise (await it first)"
    : value === null
      ? "null"
      : typeof value === "object"
        ? "an object that is no ref"
        : typeof value;
  return makeError(
    "INVALID_ARGUMENT",
    `${where} takes an ObjectRef, an array or a record of them, not ${what}`,
  );
}

function checkRef(value: unknown, where: string): asserts value is AnyRef {
  if (!(value instanceof ObjectRef)) throw notRef(value, where);
}

function checkRefs(values: readonly unknown[], where: string): void {
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] instanceof ObjectRef)) throw notRef(values[i], `${where}: element ${i}`);
  }
}

function allSettled(current: Connection, refs: readonly AnyRef[]): boolean {
  return refs.every((ref) => current.store.status(ref) !== ObjectStatus.pending);
}

/**
 * The value, blocking this thread until it is there. For scripts, worker threads and tasks; refused in actors, whose other
 * methods would stand still.
 */
export function getSync<T>(ref: ObjectRef<T>, options: { readonly timeoutMs?: number } = {}): T {
  checkRef(ref, "getSync");
  const { timeoutMs } = checkWaitOptions(options, "getSync");
  if (taskContext.getStore()?.actorId != null)
    throw makeError(
      "INVALID_ARGUMENT",
      "getSync would stop every method of this actor; use await get()",
    );
  const current = connection();
  const { executor, store } = current;
  const waits = executor !== null && store.status(ref) === ObjectStatus.pending;
  const goOn = waits ? executor.block() : null;
  try {
    return store.getSync(ref, timeoutMs ?? -1);
  } finally {
    goOn?.();
  }
}

/**
 * Stores a value; its ref can be given to tasks and actors. What the store has no room for goes to disk, the least recently
 * used values first. Throws UnserializableError (by path), ObjectStoreFullError when nothing can
 * be spilled for 10 s, OutOfDiskError.
 */
export function put<T>(value: T, options?: PutOptions): ObjectRef<T> {
  if (value instanceof ObjectRef)
    throw makeError("INVALID_ARGUMENT", "put takes a value, not a ref: it is in the store already");
  if (options === undefined) return connection().store.put(value);
  checkOptions(options, putChecks, "put");
  const { owner } = options;
  const ref = connection().store.put(value);
  if (owner === undefined) return ref;
  bind(ref, owner).catch(() => undefined); // a dead owner: the object lives as long as its refs
  return ref;
}

const putChecks = {
  owner: (value: unknown) =>
    typeof value === "object" && value !== null ? null : "an actor handle",
};

/** Options of put. */
export interface PutOptions {
  /** An actor handle: the object lives at least as long as that actor. */
  readonly owner?: object;
}

/** As put, waiting for room without blocking. */
export function putAsync<T>(
  value: T,
  options: { readonly timeoutMs?: number } = {},
): Promise<ObjectRef<T>> {
  try {
    if (value instanceof ObjectRef)
      throw makeError(
        "INVALID_ARGUMENT",
        "putAsync takes a value, not a ref: it is in the store already",
      );
    const { timeoutMs } = checkWaitOptions(options, "putAsync");
    return connection().store.putAsync(value, timeoutMs ?? 60_000);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Waits until `numReturns` (default 1) of the refs are done, failed ones included, or the time is over. Order is kept. */
export async function wait<R extends AnyRef | ObjectRefStream<unknown>>(
  refs: readonly R[],
  options: WaitOptions & { readonly numReturns?: number; readonly fetchLocal?: boolean } = {},
): Promise<{ ready: R[]; notReady: R[] }> {
  if (!Array.isArray(refs)) throw notRef(refs, "wait");
  const streams = refs.some((one) => one instanceof RefStream);
  checkRefs(streams ? refs.filter((one) => !(one instanceof RefStream)) : refs, "wait");
  const { numReturns = 1, fetchLocal: _fetchLocal, ...rest } = options;
  const limits = checkWaitOptions(rest, "wait");
  if (!Number.isInteger(numReturns) || numReturns < 1 || numReturns > Math.max(1, refs.length)) {
    throw new InvalidOptionError(
      `[invalid option] wait: numReturns must be 1 to ${refs.length} (the number of refs), not ${String(numReturns)}.`,
    );
  }
  if (refs.length === 0) return { ready: [], notReady: [] };
  const current = connection();
  const plain = streams ? refs.filter((one) => one instanceof ObjectRef) : refs;
  if (current.store.repeats.in(handlesOf(plain as readonly AnyRef[])))
    throw makeError("INVALID_ARGUMENT", "wait takes each ref once");
  if (streams)
    return current.whileBlocked(() =>
      waitMixed(current, refs as readonly (R & Waitable)[], numReturns, limits),
    );
  const promise = current.store.wait(refs as readonly (R & AnyRef)[], numReturns, limits);
  return current.executor === null ? promise : current.whileBlocked(() => promise);
}

/**
 * Ends the use of a zero-copy value now: its buffers become empty and the store can take the memory back. A ref is dropped,
 * as by `ref[Symbol.dispose]()`. False when there was nothing to end.
 */
export function release(value: object): boolean {
  if (value instanceof ObjectRef) {
    value[Symbol.dispose]();
    return true;
  }
  return connection().store.release(value);
}

/**
 * Takes values away from everybody who holds a ref to them and drops these refs: later reads throw ObjectFreedError, memory
 * and spill files come back at once. Views that were read before stay valid. A value that is not there yet is only dropped.
 */
export async function free(refs: AnyRef | readonly AnyRef[]): Promise<void> {
  const all = Array.isArray(refs) ? (refs as AnyRef[]) : [refs as AnyRef];
  checkRefs(all, "free");
  const { store } = connection();
  for (const ref of all) {
    if (ObjectRef.isOf(ref, store)) store.freeObject(ref);
    ref[Symbol.dispose]();
  }
}

/**
 * Cancels the call that makes a value, and the calls that it submitted (`recursive`, default true): queued ones at once; a
 * running one's currentSignal() fires with `reason`. `force` ends the task's process, after `graceMs`.
 */
export async function cancel(
  ref: AnyRef | ObjectRefStream<unknown>,
  options: CancelOptions = {},
): Promise<void> {
  checkOptions(options, cancelChecks, "cancel");
  const task = ref instanceof RefStream ? ref.completed() : ref;
  checkRef(task, "cancel");
  if (options.force === true && ObjectRef.isOfMethod(task))
    throw new InvalidOptionError(
      "[invalid option] cancel: force ends the process of a task; a call of an actor's method cannot be forced. Cancel it without force, or kill(actor).",
    );
  cancelCall(connection(), task, options);
}

const cancelChecks = {
  force: checks.bool,
  graceMs: checks.finite,
  recursive: checks.bool,
  reason: () => null,
};

/** What is known of an object. */
export interface ObjectInfo {
  readonly id: string;
  readonly state: "pending" | "ready" | "failed" | "freed" | "gone";
  /** Bytes in the store; 0 while it is pending. */
  readonly sizeBytes: number;
  /** Nodes that have it. */
  readonly nodes: readonly string[];
  /** Its bytes are on disk now. */
  readonly spilled: boolean;
  /** Processes and containers that hold a reference to it. */
  readonly references: number;
  /** Processes that have its bytes in place: values read without a copy. */
  readonly pins: number;
}

const stateNames = ["pending", "ready", "failed", "gone"] as const;

/** Size, state and place of an object. Rejects with ObjectFreedError for a ref that was released. */
export async function objectInfo(ref: AnyRef): Promise<ObjectInfo> {
  checkRef(ref, "objectInfo");
  const current = connection();
  const known = current.store.infoOf(ref);
  return {
    id: ref.id,
    state: known.freed ? "freed" : (stateNames[known.status] ?? "gone"),
    sizeBytes: known.freed ? 0 : known.size,
    nodes: known.size > 0 && !known.freed ? [current.place.nodeId] : [],
    spilled: known.spilled && !known.freed,
    references: known.refs,
    pins: known.pins,
  };
}
