// SPDX-License-Identifier: Apache-2.0
// A queue that tasks, actors and drivers share: an actor that holds the items, and a client object that can be sent.
//
// put and get wait inside the actor (it is async with many concurrent calls), so nobody polls. It is in core, since a
// worker that was sent a queue must know it before user code imports anything.

import { ActorDiedError, ClosedError, InvalidOptionError, makeError } from "../base/errors.ts";
import { idToBytes } from "../base/ids.ts";
import { registerCodec } from "../object/codecs.ts";
import type { ObjectRef } from "../object/ref.ts";
import { coreOf, isActorHandle } from "./actor-handle.ts";
import { connection } from "./context.ts";
import { carry } from "./function-values.ts";
import { QueueActor } from "./queue-actor.ts";
import { RemoteClassCore } from "./remote-class.ts";
import { RemoteSource } from "./remote-source.ts";
import type { ActorHandle, ActorOptions } from "./types.ts";

export interface QueueLimits {
  /** Milliseconds; 0 looks once. Default: no limit. */
  readonly timeoutMs?: number;
}

/** Options of a Queue: those of its actor, and its size. */
export interface QueueOptions extends ActorOptions {
  /** Items it holds at most; 0 (default) is no limit. */
  readonly maxSize?: number;
}

const concurrency = 1000;

/** A first-in-first-out queue over processes. `for await (const item of queue)` ends when it is closed. */
export class Queue<T = unknown> implements AsyncIterable<T>, AsyncDisposable {
  /** The actor behind the queue. */
  readonly actor: ActorHandle<QueueActor<T>>;

  /** `new Queue({ maxSize: 100 })` or `new Queue(100)`; with a `name` and `getIfExists` it is found by other programs. */
  constructor(
    size: number | QueueOptions | ActorHandle<QueueActor<T>> = 0,
    options: ActorOptions = {},
  ) {
    if (typeof size === "object" && size !== null && isActorHandle(size)) {
      this.actor = size as ActorHandle<QueueActor<T>>;
      return;
    }
    const given: QueueOptions =
      typeof size === "object" && size !== null
        ? (size as QueueOptions)
        : { ...options, maxSize: size as number };
    const { maxSize = 0, ...actorOptions } = given;
    if (!Number.isInteger(maxSize) || maxSize < 0)
      throw new InvalidOptionError(
        `[invalid option] Queue: maxSize must be a whole number >= 0, not ${String(maxSize)}.`,
      );
    const source = new RemoteSource({ kind: "value", fn: QueueActor as never }, "Queue");
    this.actor = new RemoteClassCore(source, {
      maxConcurrency: concurrency,
      ...actorOptions,
    }).remote(maxSize) as ActorHandle<QueueActor<T>>;
  }

  /** Adds an item at the end, waiting for room. Rejects with GetTimeoutError; ClosedError after `close`. */
  put(item: T, limits: QueueLimits = {}): Promise<void> {
    return this.putBatch([item], limits);
  }

  /** As put, without waiting. */
  putNowait(item: T): Promise<void> {
    return this.putBatch([item], { timeoutMs: 0 });
  }

  /** Adds all items, one after the other without others between, waiting until there is room for all of them. */
  async putBatch(items: readonly T[], { timeoutMs }: QueueLimits = {}): Promise<void> {
    if (items.length === 0) return;
    const done = await value((this.actor as Methods).put.remote([...items], timeoutMs ?? -1));
    if (done === "closed")
      throw makeError("CLOSED", "the queue was closed: nothing can be put into it");
    if (done === "full")
      throw makeError(
        "GET_TIMEOUT",
        items.length === 1
          ? `the queue was full for ${timeoutMs} ms`
          : `the queue had no room for ${items.length} items for ${timeoutMs} ms`,
      );
  }

  /** Adds all items when there is room for all of them now. */
  putNowaitBatch(items: readonly T[]): Promise<void> {
    return this.putBatch(items, { timeoutMs: 0 });
  }

  /** Takes the first item, waiting for one. Rejects with GetTimeoutError; ClosedError when it is closed and empty. */
  async get(limits: QueueLimits = {}): Promise<T> {
    return (await this.#take(1, 1, limits))[0] as T;
  }

  /** As get, without waiting. */
  getNowait(): Promise<T> {
    return this.get({ timeoutMs: 0 });
  }

  /** Takes 1 to `most` items, waiting for the first. */
  getBatch(most: number, limits: QueueLimits = {}): Promise<T[]> {
    return this.#take(1, checkCount(most), limits);
  }

  /** Takes exactly `count` items, when so many are there now. */
  getNowaitBatch(count: number): Promise<T[]> {
    return this.#take(checkCount(count), count, { timeoutMs: 0 });
  }

  /** Items until the queue is closed and empty, or shut down. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      let item: T;
      try {
        item = await this.get();
      } catch (error) {
        if (error instanceof ClosedError || error instanceof ActorDiedError) return;
        throw error;
      }
      yield item;
    }
  }

  /** Number of items. */
  async size(): Promise<number> {
    return (await value((this.actor as Methods).size.remote())) as number;
  }

  async empty(): Promise<boolean> {
    return (await this.size()) === 0;
  }

  async full(): Promise<boolean> {
    return (await value((this.actor as Methods).full.remote())) as boolean;
  }

  /** Says that no more items come: loops over the queue end when it is empty. */
  async close(): Promise<void> {
    await value((this.actor as Methods).close.remote());
  }

  /** Ends the actor with the items in it; waiting calls fail. `force: false` lets calls that came before this finish. */
  async shutdown({ force = true }: { readonly force?: boolean } = {}): Promise<void> {
    if (!force) await this.close();
    const core = coreOf(this.actor);
    await core.connection.request("actor.kill", { actor: idToBytes(core.ref.id), noRestart: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }

  async #take(least: number, most: number, { timeoutMs }: QueueLimits): Promise<T[]> {
    const items = (await value(
      (this.actor as Methods).take.remote(least, most, timeoutMs ?? -1),
    )) as T[] | null;
    if (items === null)
      throw makeError("CLOSED", "the queue was closed and its last item was taken");
    if (items.length === 0)
      throw makeError(
        "GET_TIMEOUT",
        least === 1
          ? `the queue was empty for ${timeoutMs} ms`
          : `the queue had fewer than ${least} items`,
      );
    return items;
  }
}

function checkCount(count: number): number {
  if (Number.isInteger(count) && count > 0) return count;
  throw new InvalidOptionError(
    `[invalid option] Queue: the number of items must be a whole number > 0, not ${String(count)}.`,
  );
}

/** The methods without T: of a generic parameter the mapped handle type cannot be worked with. */
type Methods = ActorHandle<QueueActor<unknown>>;

/** The value of a ref; in a worker the task's resources go back meanwhile. */
async function value<V>(ref: ObjectRef<V>): Promise<V> {
  const { store, executor } = connection();
  const goOn = executor?.block();
  try {
    return await store.get(ref);
  } finally {
    ref[Symbol.dispose]();
    goOn?.();
  }
}

registerCodec(Queue as new () => Queue, {
  tag: "polyray/Queue@1",
  encode: (queue) => ({ actor: queue.actor }),
  decode: ({ actor }: { actor: unknown }) => new Queue(actor as ActorHandle<QueueActor<unknown>>),
});
carry((value) => value instanceof Queue);
