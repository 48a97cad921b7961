// SPDX-License-Identifier: Apache-2.0
// A queue that tasks, actors and drivers share: an actor that holds the items, and a client object that can be sent.
//
// put and get wait inside the actor (it is async with many concurrent calls), so nobody polls. It is in core, since a
// worker that was sent a queue must know it before user code imports anything.

import { InvalidOptionError, makeError } from "../base/errors.ts";
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

const concurrency = 1000;

export class Queue<T = unknown> {
  /** The actor behind the queue. */
  readonly actor: ActorHandle<QueueActor<T>>;

  /** `maxSize` 0 is no limit. */
  constructor(maxSize: number | ActorHandle<QueueActor<T>> = 0, options: ActorOptions = {}) {
    if (typeof maxSize === "object" && isActorHandle(maxSize)) {
      this.actor = maxSize;
      return;
    }
    if (!Number.isInteger(maxSize) || (maxSize as number) < 0)
      throw new InvalidOptionError(
        `[invalid option] Queue: maxSize must be a whole number >= 0, not ${String(maxSize)}.`,
      );
    const source = new RemoteSource({ kind: "value", fn: QueueActor as never }, "Queue");
    this.actor = new RemoteClassCore(source, { maxConcurrency: concurrency, ...options }).remote(
      maxSize,
    ) as ActorHandle<QueueActor<T>>;
  }

  /** Adds an item at the end, waiting for room. Rejects with GetTimeoutError. */
  async put(item: T, { timeoutMs }: QueueLimits = {}): Promise<void> {
    const done = await value((this.actor as Methods).put.remote([item], timeoutMs ?? -1));
    if (done !== true) throw makeError("GET_TIMEOUT", `the queue was full for ${timeoutMs} ms`);
  }

  /** Takes the first item, waiting for one. Rejects with GetTimeoutError. */
  async get({ timeoutMs }: QueueLimits = {}): Promise<T> {
    const items = (await value((this.actor as Methods).take.remote(timeoutMs ?? -1))) as T[];
    if (items.length === 0)
      throw makeError("GET_TIMEOUT", `the queue was empty for ${timeoutMs} ms`);
    return items[0] as T;
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

  /** Ends the actor; waiting calls fail. */
  async shutdown(): Promise<void> {
    const core = coreOf(this.actor);
    await core.connection.request("actor.kill", { actor: idToBytes(core.ref.id), noRestart: true });
  }
}

/** The methods without T: of a generic parameter the mapped handle type cannot be worked with. */
type Methods = ActorHandle<QueueActor<unknown>>;

/** The value of a ref; in a worker the task's resources go back meanwhile. */
async function value<V>(ref: ObjectRef<V>): Promise<V> {
  const { store, executor } = connection();
  executor?.blocked(1);
  try {
    return await store.get(ref);
  } finally {
    ref[Symbol.dispose]();
    if (store.isOpen) executor?.blocked(-1);
  }
}

registerCodec(Queue as new () => Queue, {
  tag: "polyray/Queue@1",
  encode: (queue) => ({ actor: queue.actor }),
  decode: ({ actor }: { actor: unknown }) => new Queue(actor as ActorHandle<QueueActor<unknown>>),
});
carry((value) => value instanceof Queue);
