// SPDX-License-Identifier: Apache-2.0
// The producing side of a generator task: each item is put and announced; the generator waits while `highWaterMark` items
// are not consumed yet. Stopping (cancel, or the consumer's break) ends the generator by its own return().

import { makeError } from "../base/errors.ts";
import type { Connection } from "../core/connection.ts";
import { type TaskContext, taskContext } from "../core/task-context.ts";
import type { Call } from "./call.ts";

export interface StreamState {
  /** The consumer has taken so many items in all. */
  credit(consumed: number): void;
  stop(): void;
}

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>;

function iteratorOf(value: unknown): AnyIterator {
  const source = value as {
    [Symbol.asyncIterator]?: () => AnyIterator;
    [Symbol.iterator]?: () => AnyIterator;
  } | null;
  const make = source?.[Symbol.asyncIterator] ?? source?.[Symbol.iterator];
  if (typeof make !== "function")
    throw makeError("INVALID_ARGUMENT", "a streaming task must return a generator or an iterable");
  return make.call(source);
}

/** Runs a generator to its end. */
export function runStream(
  connection: Connection,
  call: Call,
  result: unknown,
  highWaterMark: number,
  context: TaskContext,
): { promise: Promise<void>; state: StreamState } {
  let consumed = 0;
  let stopped = false;
  let wake: (() => void) | null = null;
  const state: StreamState = {
    credit(count) {
      consumed = count;
      wake?.();
    },
    stop() {
      stopped = true;
      wake?.();
    },
  };
  const room = async (produced: number): Promise<void> => {
    while (!stopped && highWaterMark > 0 && produced - consumed >= highWaterMark) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const run = async (): Promise<void> => {
    const iterator = iteratorOf(await result);
    const { store, native } = connection;
    for (let produced = 0; ; produced++) {
      await room(produced);
      const next = stopped ? null : await iterator.next();
      if (next === null || stopped) {
        await iterator.return?.();
        return;
      }
      if (next.done === true) return;
      const handle = store.putEncoded(store.encode(await next.value, `item ${produced}`));
      native.streamItem(call.number, produced, handle);
      native.releaseHandle(handle);
      store.flushSoon();
    }
  };
  return { promise: taskContext.run(context, run), state };
}
