// SPDX-License-Identifier: Apache-2.0
// The three ways to wait without blocking: one value, many values, some of many. Each is a small
// object with a promise.
//
// A waiter holds its refs, so that none is collected while it waits. Time limits and signals end
// only the wait, never the work.
// Invariant: after the promise is settled no timer, listener or waiter of it is left.

import { makeError } from "../base/errors.ts";
import { ObjectStatus } from "../native/binding.ts";
import type { Waiter } from "./pending.ts";
import { ObjectRef, type RefState, type Watcher } from "./ref.ts";
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
  }

  settle(handle: number, status: number, bytes: Uint8Array | null): void {
    this.#limits?.end();
    try {
      this.#resolve(this.#store.valueOf(handle, status, bytes, this.#ref) as T);
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

/** Waits for all values of a list. */
export class ManyGet implements Waiter {
  readonly promise: Promise<unknown[]>;
  readonly #store: ObjectStore;
  readonly #refs: readonly ObjectRef<unknown>[];
  readonly #values: unknown[];
  /** Positions that wait for a handle; one number in the usual case. */
  readonly #places = new Map<number, number | number[]>();
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
    this.#refs = refs;
    this.#values = new Array(refs.length);
    this.promise = new Promise<unknown[]>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    try {
      for (let i = 0; i < refs.length; i++)
        this.#start(i, ObjectRef.handleOf(refs[i] as ObjectRef<unknown>));
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#places.size === 0) {
      this.#done = true;
      this.#resolve(this.#values);
    } else if (options !== null) {
      const stop = (error: unknown) => this.#fail(error);
      const late = () =>
        stop(timeoutError(`${this.#places.size} of ${refs.length} values`, options));
      this.#limits = new Limits(options, late, stop);
    }
  }

  #start(i: number, handle: number): void {
    const place = this.#places.get(handle);
    if (place !== undefined) {
      if (typeof place === "number") this.#places.set(handle, [place, i]);
      else place.push(i);
      return;
    }
    const bytes = this.#store.readNow(handle);
    const status = this.#store.lastStatus;
    if (bytes === null && status === ObjectStatus.pending) {
      this.#places.set(handle, i);
      this.#store.addWaiter(handle, this);
    } else {
      this.#values[i] = this.#store.valueOf(
        handle,
        status,
        bytes,
        this.#refs[i] as ObjectRef<unknown>,
      );
    }
  }

  settle(handle: number, status: number, bytes: Uint8Array | null): void {
    const place = this.#places.get(handle);
    if (place === undefined || this.#done) return;
    this.#places.delete(handle);
    try {
      const first = typeof place === "number" ? place : (place[0] as number);
      const value = this.#store.valueOf(
        handle,
        status,
        bytes,
        this.#refs[first] as ObjectRef<unknown>,
      );
      if (typeof place === "number") this.#values[place] = value;
      else for (const at of place) this.#values[at] = value;
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#places.size > 0) return;
    this.#done = true;
    this.#limits?.end();
    this.#resolve(this.#values);
  }

  #fail(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#limits?.end();
    for (const handle of this.#places.keys()) this.#store.removeWaiter(handle, this);
    this.#reject(error);
  }
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
