// SPDX-License-Identifier: Apache-2.0
// Lock, Semaphore, Event, Variable and Topic: shared by name over all processes of a runtime. The node service keeps their
// state (ts/gcs/sync.ts). In core, since a worker that was sent one must know it before user code imports anything.
//
// What a process holds is given back when the process ends; with `leaseMs` also when its event loop stands still longer.

import { randomBytes } from "node:crypto";
import { InvalidOptionError, makeError } from "../base/errors.ts";
import { registerCodec } from "../object/codecs.ts";
import { connection } from "./context.ts";
import { carry } from "./function-values.ts";
import {
  Named,
  type NamedOptions,
  refOfAnswer,
  type SyncWait,
  storedValue,
  withStored,
} from "./sync-request.ts";

/** Options of a Lock. */
export interface LockOptions extends NamedOptions {
  /** The hold ends when it is not renewed for so long; it is renewed while the event loop runs. Default: none. */
  readonly leaseMs?: number;
}

/** Options of a Semaphore. */
export interface SemaphoreOptions extends LockOptions {
  /** How many may be held at one time. All who share the name must say the same. */
  readonly permits: number;
}

/** A hold of a Lock or of permits of a Semaphore. `await using held = await lock.acquire()`. */
export class Lease implements AsyncDisposable {
  readonly #end: () => Promise<boolean>;
  readonly #timer: NodeJS.Timeout | null;
  #held = true;
  /** Fires when the hold was lost: its lease was not renewed in time. */
  readonly lost: AbortSignal;

  /** @internal */
  constructor(leaseMs: number, renew: () => Promise<boolean>, end: () => Promise<boolean>) {
    this.#end = end;
    const lost = new AbortController();
    this.lost = lost.signal;
    const check = (): void =>
      void renew().then(
        (held) => {
          if (held || !this.#held) return;
          this.#stop();
          lost.abort(
            makeError("GET_TIMEOUT", "the lease was not renewed in time: the hold is lost"),
          );
        },
        () => this.#stop(),
      );
    this.#timer = leaseMs > 0 ? setInterval(check, leaseMs / 3).unref() : null;
  }

  /** True until it is released or lost. */
  get held(): boolean {
    return this.#held;
  }

  /** Gives it back. False when it was not held any more. */
  async release(): Promise<boolean> {
    if (!this.#held) return false;
    this.#stop();
    return this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  #stop(): void {
    this.#held = false;
    if (this.#timer !== null) clearInterval(this.#timer);
  }
}

/** At most `permits` holders at one time, over all processes. Granted in the order asked. */
export class Semaphore extends Named implements AsyncDisposable {
  readonly permits: number;
  readonly leaseMs: number;
  readonly #leases: Lease[] = [];

  constructor(name: string, options: SemaphoreOptions | number, kind = "Semaphore") {
    const given = typeof options === "number" ? { permits: options } : options;
    super(name, given, kind);
    if (!Number.isInteger(given?.permits) || given.permits < 1)
      throw new InvalidOptionError(
        `[invalid option] ${kind}: permits must be a whole number > 0, not ${String(given?.permits)}.`,
      );
    this.permits = given.permits;
    this.leaseMs = given.leaseMs ?? 0;
  }

  /** Takes `count` permits (default 1), waiting for them. Rejects with GetTimeoutError, or the signal's reason. */
  async acquire(options: SyncWait & { readonly count?: number } = {}): Promise<Lease> {
    const lease = await this.#take(options);
    if (lease === null) throw this.late("was not free", options);
    return lease;
  }

  /** Takes permits when they are free now; else null. */
  tryAcquire(options: { readonly count?: number } = {}): Promise<Lease | null> {
    return this.#take({ ...options, timeoutMs: 0 });
  }

  /** Gives back what this object took last. Throws when it holds nothing. */
  async release(): Promise<void> {
    const lease = this.#leases.pop();
    if (lease === undefined)
      throw makeError("INVALID_ARGUMENT", `this object holds nothing of "${this.name}"`);
    await lease.release();
  }

  /** Permits that are free now. */
  async available(): Promise<number> {
    const { known, free } = await this.ask("sync.state");
    return known === true ? (free as number) : this.permits;
  }

  /** Runs `body` while holding one permit. */
  async run<R>(body: () => R | Promise<R>, options: SyncWait = {}): Promise<R> {
    await using _held = await this.acquire(options);
    return await body();
  }

  /** Gives back all that this object took. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const lease of this.#leases.splice(0)) await lease.release();
  }

  async #take({
    count = 1,
    ...options
  }: SyncWait & { readonly count?: number }): Promise<Lease | null> {
    const holder = randomBytes(12).toString("hex");
    const { permits: size, leaseMs } = this;
    const answer = await this.askWaiting("sync.acquire", { size, count, leaseMs }, options, holder);
    if (answer.granted !== true) return null;
    const lease: Lease = new Lease(
      leaseMs,
      async () => (await this.ask("sync.renew", { holder })).held === true,
      async () => {
        const at = this.#leases.indexOf(lease);
        if (at >= 0) this.#leases.splice(at, 1);
        return (await this.ask("sync.release", { holder })).released === true;
      },
    );
    this.#leases.push(lease);
    return lease;
  }
}

/** One holder at one time, over all processes. Not re-entrant. */
export class Lock extends Semaphore {
  constructor(name: string, options: LockOptions = {}) {
    super(name, { ...options, permits: 1 }, "Lock");
  }

  /** True while anybody holds it. */
  async locked(): Promise<boolean> {
    return (await this.available()) === 0;
  }
}

/** A flag that processes wait for. */
export class Event extends Named {
  constructor(name: string, options: NamedOptions = {}) {
    super(name, options, "Event");
  }

  /** Sets it: all who wait go on, and who waits later does not wait. */
  async set(): Promise<void> {
    await this.ask("event.set");
  }

  async clear(): Promise<void> {
    await this.ask("event.clear");
  }

  async isSet(): Promise<boolean> {
    return (await this.ask("event.wait", { timeoutMs: 0 })).set === true;
  }

  /** Resolves when it is set. Rejects with GetTimeoutError, or the signal's reason. */
  async wait(options: SyncWait = {}): Promise<void> {
    const { set } = await this.askWaiting("event.wait", {}, options);
    if (set !== true) throw this.late("was not set", options);
  }
}

/** A value that processes share. Values are copied, as arguments are. */
export class Variable<T = unknown> extends Named {
  constructor(name: string, options: NamedOptions = {}) {
    super(name, options, "Variable");
  }

  async set(value: T): Promise<void> {
    await withStored(connection(), value, (id) => this.ask("variable.set", { id }));
  }

  /** The value; waits until it was set once. Rejects with GetTimeoutError, or the signal's reason. */
  async get(options: SyncWait = {}): Promise<T> {
    for (;;) {
      const current = connection();
      const { id } = await this.askWaiting("variable.get", {}, options);
      if (id == null) throw this.late("was not set", options);
      const ref = refOfAnswer(current, id);
      if (ref !== null) return (await storedValue(current, ref)) as T; // else it was set again meanwhile
    }
  }

  /** False when it was not set. */
  async delete(): Promise<boolean> {
    return (await this.ask("variable.delete")).deleted === true;
  }
}

/** A stream of events that processes publish and follow. */
export class Topic<T = unknown> extends Named {
  constructor(name: string, options: NamedOptions = {}) {
    super(name, options, "Topic");
  }

  /** Resolves when the service has the event. Each follower gets it. */
  async publish(event: T): Promise<void> {
    await withStored(connection(), event, (id) => this.ask("topic.publish", { id }));
  }

  /**
   * Follows the topic: events published after this resolved, in order, until the loop is left or the signal fires. A reader
   * that falls more than 1024 events behind misses the oldest.
   */
  async subscribe(
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<AsyncGenerator<T, void, undefined>> {
    const { next } = await this.ask("topic.end");
    return this.#follow(Number(next), options);
  }

  async *#follow(
    start: number,
    options: { readonly signal?: AbortSignal },
  ): AsyncGenerator<T, void, undefined> {
    for (let from = start; ; ) {
      const current = connection();
      let answer: Record<string, unknown>;
      try {
        answer = await this.askWaiting("topic.read", { from }, options);
      } catch (error) {
        if (options.signal?.aborted === true) return;
        throw error;
      }
      const ids = answer.ids as Uint8Array[];
      from = Number(answer.first) + ids.length;
      const refs = ids.map((id) => refOfAnswer(current, id));
      for (const ref of refs) if (ref !== null) yield (await storedValue(current, ref)) as T;
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    const start = this.subscribe();
    return (async function* () {
      yield* await start;
    })();
  }
}

function travels<T extends Named>(
  Class: new (name: string, options: never) => T,
  tag: string,
  options: (value: T) => object = () => ({}),
): void {
  registerCodec(Class as new (name: string, options: object) => T, {
    tag,
    encode: (value) => ({
      name: value.name,
      options: {
        namespace: value.namespace ?? connection().place.namespace,
        ...options(value),
      },
    }),
    decode: (wire: { name: string; options: object }) =>
      new Class(wire.name, wire.options as never),
  });
}

const leaseOf = (one: Semaphore): object => (one.leaseMs > 0 ? { leaseMs: one.leaseMs } : {});
travels(Lock, "polyray/Lock@1", leaseOf);
travels(Semaphore, "polyray/Semaphore@1", (one) => ({ permits: one.permits, ...leaseOf(one) }));
travels(Event, "polyray/Event@1");
travels(Variable, "polyray/Variable@1");
travels(Topic, "polyray/Topic@1");
carry((value) => value instanceof Named);
