// SPDX-License-Identifier: Apache-2.0
// Waiting for refs and streams in one list: a stream counts as ready when its next item, or its end, is here.

import { makeError } from "../base/errors.ts";
import type { Connection } from "../core/connection.ts";
import { RefStream } from "../core/streams.ts";
import type { WaitOptions } from "../core/types.ts";
import { ObjectRef } from "../object/ref.ts";

/** One thing that `wait` takes. */
export type Waitable = ObjectRef<unknown> | RefStream;

/** As wait of the store, with streams in the list. */
export async function waitMixed<R extends Waitable>(
  connection: Connection,
  list: readonly R[],
  numReturns: number,
  { timeoutMs, signal }: WaitOptions,
): Promise<{ ready: R[]; notReady: R[] }> {
  const { store } = connection;
  const refs = list.filter((one) => one instanceof ObjectRef) as ObjectRef[];
  const streams = list.filter((one) => one instanceof RefStream) as RefStream[];
  const end = timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeoutMs;
  store.hold();
  try {
    for (;;) {
      signal?.throwIfAborted();
      if (!store.isOpen)
        throw store.closeReason ?? makeError("CLOSED", "the runtime was shut down");
      const settled = refs.length === 0 ? [] : await settledOf(connection, refs);
      const done = new Set<unknown>([...settled, ...streams.filter((one) => one.isReady)]);
      if (done.size >= numReturns || Date.now() >= end) return split(list, done, numReturns);
      await nextChange(connection, refs, settled.length, streams, end, signal);
    }
  } finally {
    if (store.isOpen) store.unhold();
  }
}

async function settledOf(connection: Connection, refs: ObjectRef[]): Promise<ObjectRef[]> {
  return (await connection.store.wait(refs, refs.length, { timeoutMs: 0 })).ready;
}

/** Resolves when one more ref is settled, a stream has something, the time is over or the signal fires. */
async function nextChange(
  connection: Connection,
  refs: ObjectRef[],
  settled: number,
  streams: readonly RefStream[],
  end: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stop = new AbortController();
  const stops: (() => void)[] = [];
  await new Promise<void>((resolve) => {
    const wake = (): void => resolve();
    if (settled < refs.length)
      connection.store.wait(refs, settled + 1, { signal: stop.signal }).then(wake, wake);
    for (const stream of streams) if (!stream.isReady) stops.push(stream.whenReady(wake));
    if (end !== Number.POSITIVE_INFINITY) {
      const timer = setTimeout(wake, Math.min(Math.max(0, end - Date.now()), 2 ** 31 - 1));
      stops.push(() => clearTimeout(timer));
    }
    signal?.addEventListener("abort", wake, { once: true });
    stops.push(() => signal?.removeEventListener("abort", wake));
  });
  stop.abort();
  for (const one of stops) one();
}

function split<R>(list: readonly R[], done: ReadonlySet<unknown>, numReturns: number) {
  const ready: R[] = [];
  const notReady: R[] = [];
  for (const one of list) (done.has(one) && ready.length < numReturns ? ready : notReady).push(one);
  return { ready, notReady };
}
