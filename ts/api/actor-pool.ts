// SPDX-License-Identifier: Apache-2.0
// A pool of equal actors: work goes to whichever is free. Holds handles and refs only; the actors are the caller's.

import { makeError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import { get, wait } from "./objects.ts";

/** What one actor shall do with one value. */
export type PoolWork<H, T, R> = (actor: H, value: T) => ObjectRef<R>;

interface Running<H> {
  readonly index: number;
  readonly actor: H;
  readonly ref: ObjectRef<unknown>;
}

/** Equal actors that share work: `pool.map((actor, x) => actor.square.remote(x), values)`. */
export class ActorPool<H extends object> {
  readonly #idle: H[];
  readonly #running: Running<H>[] = [];
  readonly #waiting: { index: number; work: PoolWork<H, unknown, unknown>; value: unknown }[] = [];
  /** Finished calls whose result nobody took yet. */
  readonly #finished = new Map<number, ObjectRef<unknown>>();
  #submitted = 0;
  #returned = 0;

  constructor(actors: Iterable<H>) {
    this.#idle = [...actors];
    if (this.#idle.length === 0)
      throw makeError("INVALID_ARGUMENT", "an ActorPool needs at least one actor");
  }

  /** Gives a value to a free actor, or queues it. */
  submit<T, R>(work: PoolWork<H, T, R>, value: T): void {
    this.#waiting.push({
      index: this.#submitted++,
      work: work as PoolWork<H, unknown, unknown>,
      value,
    });
    this.#dispatch();
  }

  /** True while results are outstanding. */
  hasNext(): boolean {
    return this.#running.length + this.#waiting.length + this.#finished.size > 0;
  }

  hasFree(): boolean {
    return this.#idle.length > 0 && this.#waiting.length === 0;
  }

  /** The next result in the order of submit. */
  async getNext(options: { readonly timeoutMs?: number } = {}): Promise<unknown> {
    if (!this.hasNext()) throw makeError("INVALID_ARGUMENT", "the pool has no more results");
    while (!this.#finished.has(this.#returned)) {
      if (!this.hasNext() || this.#returned >= this.#submitted)
        throw makeError("INVALID_ARGUMENT", "the pool has no more results in order");
      await this.#settleOne(options.timeoutMs);
      while (this.#returned < this.#submitted && this.#isGone(this.#returned)) this.#returned++;
    }
    return this.#take(this.#returned++);
  }

  /** Any result that is ready first. */
  async getNextUnordered(options: { readonly timeoutMs?: number } = {}): Promise<unknown> {
    if (!this.hasNext()) throw makeError("INVALID_ARGUMENT", "the pool has no more results");
    if (this.#finished.size === 0) await this.#settleOne(options.timeoutMs);
    const index = this.#finished.keys().next().value as number;
    if (index === this.#returned) this.#returned++;
    return this.#take(index);
  }

  /** Results in the order of the values. */
  async *map<T, R>(
    work: PoolWork<H, T, R>,
    values: Iterable<T>,
  ): AsyncGenerator<Awaited<R>, void, undefined> {
    this.#startMap();
    for (const value of values) this.submit(work, value);
    while (this.hasNext()) yield (await this.getNext()) as Awaited<R>;
  }

  /** Results as they are ready. */
  async *mapUnordered<T, R>(
    work: PoolWork<H, T, R>,
    values: Iterable<T>,
  ): AsyncGenerator<Awaited<R>, void, undefined> {
    this.#startMap();
    for (const value of values) this.submit(work, value);
    while (this.hasNext()) yield (await this.getNextUnordered()) as Awaited<R>;
  }

  /** Adds an actor. */
  push(actor: H): void {
    this.#idle.push(actor);
    this.#dispatch();
  }

  /** Takes an actor out, when one is free. */
  popIdle(): H | undefined {
    return this.hasFree() ? this.#idle.pop() : undefined;
  }

  #startMap(): void {
    if (this.hasNext())
      throw makeError(
        "INVALID_ARGUMENT",
        "the pool has results that were not taken: take them before map()",
      );
    this.#returned = this.#submitted;
  }

  #isGone(index: number): boolean {
    return (
      !this.#finished.has(index) &&
      !this.#running.some((one) => one.index === index) &&
      !this.#waiting.some((one) => one.index === index)
    );
  }

  #dispatch(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) {
      const actor = this.#idle.pop() as H;
      const { index, work, value } = this.#waiting.shift() as {
        index: number;
        work: PoolWork<H, unknown, unknown>;
        value: unknown;
      };
      this.#running.push({ index, actor, ref: work(actor, value) });
    }
  }

  async #settleOne(timeoutMs: number | undefined): Promise<void> {
    const refs = this.#running.map((one) => one.ref);
    const { ready } = await wait(refs, {
      numReturns: 1,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const ref = ready[0];
    if (ref === undefined)
      throw makeError("GET_TIMEOUT", `no actor of the pool was ready within ${timeoutMs} ms`);
    const at = this.#running.findIndex((one) => one.ref === ref);
    const [one] = this.#running.splice(at, 1) as [Running<H>];
    this.#finished.set(one.index, ref);
    this.#idle.push(one.actor);
    this.#dispatch();
  }

  #take(index: number): Promise<unknown> {
    const ref = this.#finished.get(index) as ObjectRef<unknown>;
    this.#finished.delete(index);
    return get(ref);
  }
}
