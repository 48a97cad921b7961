// SPDX-License-Identifier: Apache-2.0
// A stream given to another process: one task, or one actor, reads it there instead of here.
//
// Between the two stands a queue of a few refs (an actor): this process moves refs of items into it as the producer makes
// them, and waits when it is full, so that the producer waits too. The values never come here. When the reader stops, or
// its task ends, the queue ends and the producer is cancelled. Invariant: a stream has one reader.

import { makeError } from "../base/errors.ts";
import { ObjectStatus } from "../native/binding.ts";
import { registerCodec } from "../object/codecs.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";
import { connection } from "./context.ts";
import { endStreams, handedOver, notThere } from "./handed-over.ts";
import { Queue } from "./queue.ts";
import { RefStream } from "./streams.ts";

/** Refs of items on their way: what the reader may be behind, besides the producer's own highWaterMark. */
const refsOnTheWay = 8;

interface Travelling {
  /** Sealed when the generator has ended. */
  readonly task: ObjectRef<void>;
  readonly items: Queue<ObjectRef>;
}

function send(stream: RefStream): Travelling {
  const items = new Queue<ObjectRef>(refsOnTheWay);
  void move(stream.take("sent to another process"), items);
  handedOver.streams ??= [];
  handedOver.streams.push(items);
  return { task: stream.completed(), items };
}

async function move(refs: AsyncIterable<ObjectRef>, items: Queue<ObjectRef>): Promise<void> {
  try {
    for await (const ref of refs) {
      await items.put(ref);
      ref[Symbol.dispose]();
    }
  } catch {
    // The producer failed: its task's ref tells the reader. Or the reader has ended: leaving the loop cancels the producer.
  }
  await items.close().catch(() => undefined);
}

/** The reading side, in the process that a stream was sent to. */
export class ReceivedStream<T = unknown> implements AsyncIterable<ObjectRef<T>>, AsyncDisposable {
  declare readonly then?: never;
  readonly #connection: Connection;
  readonly #task: ObjectRef<void>;
  readonly #items: Queue<ObjectRef<T>>;
  #taken = false;

  constructor(current: Connection, { task, items }: Travelling) {
    this.#connection = current;
    this.#task = task;
    this.#items = items as Queue<ObjectRef<T>>;
  }

  /** Sealed when the generator has ended; its error is the generator's. */
  completed(): ObjectRef<void> {
    return this.#task;
  }

  /** The items' values, in order. */
  async *values(): AsyncGenerator<T, void, undefined> {
    for await (const ref of this) {
      const value = await this.#connection.store.get(ref);
      ref[Symbol.dispose]();
      yield value;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ObjectRef<T>, void, undefined> {
    if (this.#taken)
      throw makeError("INVALID_ARGUMENT", "a stream has one reader: this one is read already");
    this.#taken = true;
    try {
      for await (const ref of this.#items) yield ref;
      await this.#connection.whileBlocked(() => this.#connection.store.get(this.#task));
    } finally {
      await this.#end();
    }
  }

  /** Says that no more items are wanted: the producer is cancelled. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#taken = true;
    await this.#end();
  }

  async #end(): Promise<void> {
    if (this.#connection.isOpen) await this.#items.shutdown().catch(notThere);
  }

  get [Symbol.toStringTag](): string {
    return `ObjectRefStream(${this.#task.id})`;
  }
}

// A call that was given streams: when it is over (a method: when it failed), nobody reads them any more.
handedOver.bind = (current, call, ofMethod, given) => {
  const over = (): void => {
    if (!current.isOpen) return;
    if (ofMethod && current.store.status(call) !== ObjectStatus.error) return;
    endStreams(given);
  };
  current.store.wait([call], 1).then(over, () => undefined);
};

registerCodec(RefStream, {
  tag: "polyray/ObjectRefStream@1",
  encode: send,
  decode: (wire: Travelling) => new ReceivedStream(connection(), wire) as never,
});
