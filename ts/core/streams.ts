// SPDX-License-Identifier: Apache-2.0
// The consuming side of a generator task: refs of its items, in order, as they are made.
//
// Items arrive as events and wait here until the loop takes them; the producer is told how many were taken, and waits when
// too many are not. `break` out of the loop cancels the producer. Invariants: (1) one loop at a time; (2) an item that
// nobody took is released when the stream ends.

import { makeError } from "../base/errors.ts";
import { carriesRef, lasting, ObjectRef } from "../object/ref.ts";
import { cancelCall } from "./call.ts";
import type { Connection, StreamSink } from "./connection.ts";
import { isGeneratorFunction } from "./methods.ts";
import type { Target } from "./specs.ts";

/** True when the target is known to be a generator function. */
export function isGenerator(target: Target): boolean {
  if (target.kind === "value") return isGeneratorFunction(target.fn);
  return target.kind === "spec" && target.isGenerator;
}

export class RefStream<T = unknown> implements StreamSink {
  declare readonly then?: never;
  readonly #connection: Connection;
  readonly #task: ObjectRef;
  readonly #handle: number;
  readonly #items: ObjectRef[] = [];
  #taken = 0;
  #ended = false;
  /** Who reads it, in words; null: nobody so far. */
  #reader: string | null = null;
  #wake: (() => void) | null = null;
  readonly #watchers = new Set<() => void>();

  constructor(connection: Connection, task: ObjectRef) {
    this.#connection = connection;
    this.#task = task;
    this.#handle = ObjectRef.handleOf(task);
    connection.streams.set(this.#handle, this);
    carriesRef(this, task);
  }

  /** Sealed when the generator has ended; its error is the generator's. */
  completed(): ObjectRef<void> {
    return this.#task as ObjectRef<void>;
  }

  /** The items' values, in order. */
  async *values(): AsyncGenerator<T, void, undefined> {
    for await (const ref of this) {
      const value = (await this.#connection.store.get(ref)) as T; // sealed already
      ref[Symbol.dispose]();
      yield value;
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<ObjectRef<T>, void, undefined> {
    if (this.#reader !== null && this.#reader !== "read here")
      throw makeError("INVALID_ARGUMENT", `a stream has one reader: this one was ${this.#reader}`);
    this.#reader = "read here";
    return this.#read();
  }

  /** @internal The refs, for one reader. `reader`: who it is, in words. */
  take(reader: string): AsyncIterable<ObjectRef> {
    if (this.#reader !== null)
      throw makeError(
        "INVALID_ARGUMENT",
        `a stream has one reader: this one was ${this.#reader} already, it cannot be ${reader}`,
      );
    this.#reader = reader;
    return { [Symbol.asyncIterator]: () => this.#read() as AsyncIterator<ObjectRef> };
  }

  async *#read(): AsyncGenerator<ObjectRef<T>, void, undefined> {
    const { store } = this.#connection;
    store.hold();
    try {
      for (;;) {
        const item = this.#items.shift();
        if (item !== undefined) {
          this.#taken++;
          this.#connection.native.streamConsumed(this.#handle, this.#taken);
          store.flushSoon();
          yield item as ObjectRef<T>;
        } else if (this.#ended) {
          await store.get(this.#task); // throws what the generator threw
          return;
        } else {
          await this.#connection.whileBlocked(
            () =>
              new Promise<void>((resolve) => {
                this.#wake = resolve;
              }),
          );
          if (!this.#connection.isOpen)
            throw store.closeReason ?? makeError("CLOSED", "the runtime was shut down");
        }
      }
    } finally {
      if (this.#connection.isOpen) {
        store.unhold();
        this.#close();
      }
    }
  }

  /** Cancels the producer, when it still runs, and drops items that were not taken. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#connection.isOpen) this.#close();
  }

  #close(): void {
    if (!this.#ended) cancelCall(this.#connection, this.#task);
    for (const item of this.#items.splice(0)) item[Symbol.dispose]();
    this.#connection.streams.delete(this.#handle);
  }

  /** @internal */
  item(_number: number, handle: number): void {
    this.#items.push(lasting(this.#connection.store.refOf(handle)));
    this.#rouse();
  }

  /** @internal */
  end(): void {
    this.#ended = true;
    this.#rouse();
  }

  /** @internal */
  closed(): void {
    this.#rouse();
  }

  /** @internal True when the next item, or the end, is here. */
  get isReady(): boolean {
    return this.#items.length > 0 || this.#ended;
  }

  /** @internal Calls `told` at the next item or at the end; returns how to stop that. */
  whenReady(told: () => void): () => void {
    this.#watchers.add(told);
    return () => this.#watchers.delete(told);
  }

  #rouse(): void {
    this.#wake?.();
    this.#wake = null;
    for (const told of [...this.#watchers]) told();
  }

  get [Symbol.toStringTag](): string {
    return `ObjectRefStream(${this.#task.id})`;
  }
}

/** The stream of a streaming call, whose first return is `task`. */
export function openStream(connection: Connection, task: ObjectRef): RefStream {
  return new RefStream(connection, task);
}
