// SPDX-License-Identifier: Apache-2.0
// A pool of equal actors: work goes to whichever is free. Actors that were given are the caller's; those that an elastic
// pool makes are its own, and end with it.

import { availableParallelism } from "node:os";
import { makeError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import { kill } from "./actors.ts";
import { get, wait } from "./objects.ts";

/** What one actor shall do with one value. */
export type PoolWork<H, T, R> = (actor: H, value: T) => ObjectRef<R>;

interface Running<H> {
  readonly index: number;
  readonly actor: H;
  readonly ref: ObjectRef<unknown>;
}

/** How an elastic pool grows and shrinks. */
export interface ElasticOptions {
  /** Actors it starts with and keeps. Default 1. */
  readonly min?: number;
  /** Actors it has at most. Default: the CPUs of this machine. */
  readonly max?: number;
  /** An actor above `min` that had nothing to do for so long is ended. Default 10,000. */
  readonly idleMs?: number;
}

/**
 * Equal actors that share work: `pool.map((actor, x) => actor.square.remote(x), values)`. With a function that makes an
 * actor the pool is elastic: `new ActorPool(() => Worker.remote(), { min: 1, max: 8 })`.
 */
export class ActorPool<H extends object> implements AsyncDisposable {
  readonly #idle: H[] = [];
  readonly #running: Running<H>[] = [];
  readonly #waiting: { index: number; work: PoolWork<H, unknown, unknown>; value: unknown }[] = [];
  /** Finished calls whose result nobody took yet. */
  readonly #finished = new Map<number, ObjectRef<unknown>>();
  readonly #make: (() => H) | null;
  readonly #own = new Map<H, NodeJS.Timeout | null>();
  readonly #limits: Required<ElasticOptions>;
  #submitted = 0;
  #returned = 0;

  constructor(actors: Iterable<H> | (() => H), options: ElasticOptions = {}) {
    const { min = 1, max = Math.max(min, availableParallelism()), idleMs = 10_000 } = options;
    this.#limits = { min, max, idleMs };
    if (typeof actors === "function") {
      if (!Number.isInteger(min) || !Number.isInteger(max) || min < 0 || max < 1 || max < min)
        throw makeError(
          "INVALID_OPTION",
          `ActorPool: 0 <= min <= max and max >= 1, not min ${min}, max ${max}`,
        );
      this.#make = actors;
      for (let i = 0; i < min; i++) this.#idle.push(this.#grow());
      return;
    }
    this.#make = null;
    this.#idle.push(...actors);
    if (this.#idle.length === 0)
      throw makeError("INVALID_ARGUMENT", "an ActorPool needs at least one actor");
  }

  /** Actors that the pool has now. */
  get size(): number {
    return this.#idle.length + this.#running.length;
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
    const room = this.#make !== null && this.size < this.#limits.max;
    return (this.#idle.length > 0 || room) && this.#waiting.length === 0;
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
  map<T, R>(
    work: PoolWork<H, T, R>,
    values: Iterable<T>,
  ): AsyncGenerator<Awaited<R>, void, undefined> {
    return this.#mapped(work, values, () => this.getNext());
  }

  /** Results as they are ready. */
  mapUnordered<T, R>(
    work: PoolWork<H, T, R>,
    values: Iterable<T>,
  ): AsyncGenerator<Awaited<R>, void, undefined> {
    return this.#mapped(work, values, () => this.getNextUnordered());
  }

  async *#mapped<T, R>(
    work: PoolWork<H, T, R>,
    values: Iterable<T>,
    next: () => Promise<unknown>,
  ): AsyncGenerator<Awaited<R>, void, undefined> {
    this.#startMap();
    for (const value of values) this.submit(work, value);
    while (this.hasNext()) yield (await next()) as Awaited<R>;
  }

  /** Adds an actor. */
  push(actor: H): void {
    this.#idle.push(actor);
    this.#dispatch();
  }

  /** Takes an actor out, when one is free. */
  popIdle(): H | undefined {
    if (this.#waiting.length > 0) return undefined;
    const actor = this.#idle.pop();
    if (actor !== undefined) this.#disown(actor);
    return actor;
  }

  /** Ends the actors that the pool made, now. Those that were given live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#waiting.length = 0;
    const own = [...this.#own.keys()];
    for (const actor of own) this.#disown(actor);
    await Promise.all(own.map((actor) => kill(actor)));
  }

  #grow(): H {
    const actor = (this.#make as () => H)();
    this.#own.set(actor, null);
    return actor;
  }

  #disown(actor: H): void {
    const timer = this.#own.get(actor);
    if (timer != null) clearTimeout(timer);
    this.#own.delete(actor);
  }

  /** An actor without work: it is ended after a while, when the pool has more than it must keep. */
  #rest(actor: H): void {
    this.#idle.push(actor);
    if (!this.#own.has(actor)) return;
    const end = (): void => {
      if (this.#own.size <= this.#limits.min) return;
      const at = this.#idle.indexOf(actor);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      this.#disown(actor);
      kill(actor).catch(() => undefined);
    };
    this.#own.set(actor, setTimeout(end, this.#limits.idleMs).unref());
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
    while (this.#waiting.length > 0) {
      if (this.#idle.length === 0) {
        if (this.#make === null || this.#own.size >= this.#limits.max) return;
        this.#idle.push(this.#grow());
      }
      const actor = this.#idle.pop() as H;
      const timer = this.#own.get(actor);
      if (timer != null) clearTimeout(timer);
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
    this.#rest(one.actor);
    this.#dispatch();
  }

  #take(index: number): Promise<unknown> {
    const ref = this.#finished.get(index) as ObjectRef<unknown>;
    this.#finished.delete(index);
    return get(ref);
  }
}
