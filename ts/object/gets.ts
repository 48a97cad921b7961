// SPDX-License-Identifier: Apache-2.0
// The three ways to wait without blocking: one value, many values, some of many. Each is a small
// object with a promise.
//
// A waiter holds its refs, so that none is collected while it waits. Time limits and signals end
// only the wait, never the work.
// Invariant: after the promise is settled no timer, listener or waiter of it is left.

import { makeError } from "../base/errors.ts";
import { notRead, ObjectStatus } from "../native/binding.ts";
import type { Waiter } from "./pending.ts";
import { notPlain } from "./plain.ts";
import { handlesOf, ObjectRef, type RefState, type Watcher } from "./ref.ts";
import type { ObjectStore } from "./store.ts";

/** How long to wait. */
export interface WaitOptions {
  /** 0 = look once. */
  readonly timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Timer and abort listener of one wait. */
class Limits {
  #timer: NodeJS.Timeout | null = null;
  #signal: AbortSignal | null = null;
  readonly #abort: () => void;

  constructor(options: WaitOptions, onTimeout: () => void, onAbort: (reason: unknown) => void) {
    this.#abort = () => onAbort(this.#signal?.reason);
    const { timeoutMs, signal } = options;
    if (signal !== undefined) {
      this.#signal = signal;
      if (signal.aborted) queueMicrotask(this.#abort);
      else signal.addEventListener("abort", this.#abort, { once: true });
    }
    if (timeoutMs !== undefined && timeoutMs !== Number.POSITIVE_INFINITY) {
      this.#timer = setTimeout(onTimeout, Math.min(timeoutMs, 2 ** 31 - 1));
    }
  }

  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
  }
}

function timeoutError(id: string, options: WaitOptions | null): Error {
  return makeError("GET_TIMEOUT", `${id} was not ready within ${options?.timeoutMs ?? 0} ms`);
}

/** Waits for one value. REQUIRES: the store is subscribed to the pending handle. */
export class OneGet<T> implements Waiter {
  readonly promise: Promise<T>;
  readonly #store: ObjectStore;
  readonly #ref: ObjectRef<T>;
  readonly #limits: Limits | null;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;

  constructor(store: ObjectStore, ref: ObjectRef<T>, handle: number, options: WaitOptions | null) {
    this.#store = store;
    this.#ref = ref;
    this.promise = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#limits =
      options === null
        ? null
        : new Limits(
            options,
            () => this.#stop(handle, timeoutError(ref.id, options)),
            (reason) => this.#stop(handle, reason),
          );
    store.addWaiter(handle, this);
    store.awaited();
  }

  settle(handle: number, status: number): void {
    this.#limits?.end();
    try {
      this.#resolve(this.#store.valueOf(handle, status, this.#ref) as T);
    } catch (error) {
      this.#reject(error);
    }
  }

  #stop(handle: number, error: unknown): void {
    this.#limits?.end();
    this.#store.removeWaiter(handle, this);
    this.#reject(error);
  }
}

const noHandles = new Uint32Array(0);

/** Waits for all values of a list, which is looked at in one pass. */
export class ManyGet implements Waiter {
  readonly promise: Promise<unknown[]>;
  readonly #store: ObjectStore;
  readonly #refs: readonly ObjectRef<unknown>[];
  readonly #values: unknown[];
  /** Handles of the refs; 0 where the value is there. */
  readonly #handles: Uint32Array = noHandles;
  /** No place before this one waits. */
  #next = 0;
  /** Handles that wait; one more while the list is looked at. */
  #left = 1;
  /** Places by handle: made when values come in another order than that of the list, or the list names a ref twice. */
  #places: Map<number, number[]> | null = null;
  readonly #limits: Limits | null = null;
  #done = false;
  #resolve!: (values: unknown[]) => void;
  #reject!: (error: unknown) => void;

  constructor(
    store: ObjectStore,
    refs: readonly ObjectRef<unknown>[],
    options: WaitOptions | null,
  ) {
    this.#store = store;
    this.#refs = refs.slice(); // the program may change its list
    this.#values = new Array(refs.length);
    this.promise = new Promise<unknown[]>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    try {
      this.#handles = handlesOf(refs);
      if (store.repeats.in(this.#handles)) this.#places = placesOf(this.#handles, 0);
      for (let from = 0; from < this.#handles.length && !this.#done; ) from = this.#look(from);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#oneLess();
    if (this.#done) return;
    store.awaited();
    if (options !== null) {
      const stop = (error: unknown) => this.#fail(error);
      const late = () =>
        stop(timeoutError(`${this.#left} of ${this.#refs.length} values`, options));
      this.#limits = new Limits(options, late, stop);
    }
  }

  /** Reads from place `from` on what one crossing gives; returns the place after the last one. */
  #look(from: number): number {
    const store = this.#store;
    const handles = this.#handles;
    const { reads } = store;
    const end = store.native.readMany(handles, from);
    // Decoding may run a codec of the program, which may read: what is not plain is copied first.
    let copies: [place: number, status: number, bytes: Uint8Array | null][] | null = null;
    let at = 0;
    for (let i = from; i < end; i++) {
      const status = reads.words[at >>> 2] as number;
      const length = reads.words[(at >>> 2) + 1] as number;
      at += 8;
      if (status === ObjectStatus.pending) {
        this.#wait(i);
        continue;
      }
      const isPlain = length !== notRead && status !== ObjectStatus.error;
      const value = isPlain ? reads.value(at, length) : notPlain;
      if (value === notPlain) {
        copies ??= [];
        copies.push([i, status, length === notRead ? null : reads.copy(at, length)]);
      } else this.#set(i, value);
      if (length !== notRead) at += (length + 7) & ~7;
    }
    for (const [place, status, bytes] of copies ?? []) {
      if (this.#done) break; // a codec ended a ref of the list
      const handle = handles[place] as number;
      const ref = this.#refs[place] as ObjectRef<unknown>;
      this.#set(
        place,
        bytes === null ? store.valueOf(handle, status, ref) : store.value(handle, bytes, status),
      );
    }
    return end;
  }

  #wait(place: number): void {
    const handle = this.#handles[place] as number;
    if (this.#places !== null && this.#places.get(handle)?.[0] !== place) return; // a repeat
    this.#left++;
    this.#store.addWaiter(handle, this);
  }

  #set(place: number, value: unknown): void {
    this.#values[place] = value;
    this.#handles[place] = 0;
  }

  settle(handle: number, status: number): void {
    if (this.#done) return;
    const places = this.#placesOf(handle);
    try {
      const first = typeof places === "number" ? places : (places[0] as number);
      const ref = this.#refs[first] as ObjectRef<unknown>;
      const value = this.#store.valueOf(handle, status, ref);
      if (typeof places === "number") this.#set(places, value);
      else for (const place of places) this.#set(place, value);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#oneLess();
  }

  #oneLess(): void {
    if (this.#done || --this.#left > 0) return;
    this.#done = true;
    this.#limits?.end();
    this.#resolve(this.#values);
  }

  #placesOf(handle: number): number | readonly number[] {
    const handles = this.#handles;
    if (this.#places === null) {
      let next = this.#next;
      while (handles[next] === 0) next++;
      this.#next = next;
      if (handles[next] === handle) return next;
      this.#places = placesOf(handles, next);
    }
    return this.#places.get(handle) as number[];
  }

  #fail(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#limits?.end();
    for (const handle of this.#handles) if (handle !== 0) this.#store.removeWaiter(handle, this);
    this.#reject(error);
  }
}

function placesOf(handles: Uint32Array, from: number): Map<number, number[]> {
  const places = new Map<number, number[]>();
  for (let i = from; i < handles.length; i++) {
    const handle = handles[i] as number;
    if (handle === 0) continue;
    const known = places.get(handle);
    if (known === undefined) places.set(handle, [i]);
    else known.push(i);
  }
  return places;
}

/**
 * Waits for `needed` of the refs, without reading values. What a ref is known to be is kept in its state, so a wait costs
 * one look at each ref, and one at each settling: a list that is waited on again and again is subscribed once.
 */
export class WaitSome<R extends ObjectRef<unknown>> implements Watcher {
  readonly promise: Promise<{ ready: R[]; notReady: R[] }>;
  readonly #store: ObjectStore;
  readonly #refs: readonly R[];
  readonly #needed: number;
  #states: RefState[] | null = null;
  #settled = 0;
  readonly #limits: Limits | null = null;
  #done = false;
  #resolve!: (split: { ready: R[]; notReady: R[] }) => void;
  #reject!: (error: unknown) => void;

  constructor(store: ObjectStore, refs: readonly R[], needed: number, options: WaitOptions | null) {
    this.#store = store;
    this.#refs = refs;
    this.#needed = Math.min(needed, refs.length);
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    for (let i = 0; i < refs.length; i++) {
      if (!store.isSettled(ObjectRef.stateOf(refs[i] as R))) continue;
      if (++this.#settled >= this.#needed) break;
    }
    if (this.#settled >= this.#needed) {
      this.#end();
      return;
    }
    this.#states = refs.map((ref) => ObjectRef.stateOf(ref));
    for (const state of this.#states) if (!state.settled) state.watch(this);
    store.hold();
    store.flushSoon();
    if (options !== null) {
      this.#limits = new Limits(
        options,
        () => this.#end(),
        (reason) => this.#end(reason ?? new Error("aborted")),
      );
    }
  }

  refSettled(): void {
    if (++this.#settled >= this.#needed) this.#end();
  }

  #end(error?: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#limits?.end();
    if (this.#states !== null) {
      for (const state of this.#states) if (!state.settled) state.unwatch(this);
      this.#store.unhold();
    }
    if (error !== undefined) return this.#reject(error);
    if (this.#store.closeReason !== null) return this.#reject(this.#store.closeReason);
    const ready: R[] = [];
    let notReady: R[] = [];
    for (let i = 0; i < this.#refs.length; i++) {
      const ref = this.#refs[i] as R;
      if (!ObjectRef.isSettled(ref)) notReady.push(ref);
      else if (ready.push(ref) === this.#needed) {
        // More than asked for may be settled: the rest counts as not ready, as in Ray.
        const rest = this.#refs.slice(i + 1);
        notReady = notReady.length === 0 ? rest : notReady.concat(rest);
        break;
      }
    }
    this.#resolve({ ready, notReady });
  }
}
