// SPDX-License-Identifier: Apache-2.0
// Loops over many calls: results as they come, maps with a bound on the work in flight. Refs are dropped as soon as their
// value was read, so that a map over a long stream holds `inFlight` results at most.

import { InvalidOptionError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import { get, type ValueOf, wait } from "./objects.ts";

type AnyRef = ObjectRef<unknown>;
type Items<T> = Iterable<T> | AsyncIterable<T>;

/** What mapUnordered and mapOrdered call: a remote function, an actor's method, or any function that gives a ref. */
export type Submit<T, R> = { remote(item: T): ObjectRef<R> } | ((item: T) => ObjectRef<R>);

/** Options of mapUnordered and mapOrdered. */
export interface MapOptions {
  /** Calls that run or wait at one time. Default 100. */
  readonly inFlight?: number;
}

const defaultInFlight = 100;

function inFlightOf(options: MapOptions, where: string): number {
  const inFlight = options.inFlight ?? defaultInFlight;
  if (!Number.isInteger(inFlight) || inFlight < 1)
    throw new InvalidOptionError(
      `[invalid option] ${where}: inFlight must be a whole number >= 1, not ${String(inFlight)}.`,
    );
  return inFlight;
}

function submitOf<T, R>(submit: Submit<T, R>): (item: T) => ObjectRef<R> {
  return typeof submit === "function" ? submit : (item) => submit.remote(item);
}

async function* each<T>(items: Items<T>): AsyncGenerator<T, void, undefined> {
  yield* items;
}

/** Pairs of ref and value, in the order in which the values are ready. Throws the first error that it meets. */
export async function* asCompleted<R extends AnyRef>(
  refs: Iterable<R>,
): AsyncGenerator<[R, ValueOf<R>], void, undefined> {
  let left = [...refs];
  while (left.length > 0) {
    const first = await wait(left, { numReturns: 1 });
    // Take all that are ready, so that a long list is not searched once per result.
    const settled = await wait(left, { numReturns: left.length, timeoutMs: 0 });
    const ready = settled.ready.length > 0 ? settled.ready : first.ready;
    left = settled.ready.length > 0 ? settled.notReady : first.notReady;
    for (const ref of ready) yield [ref, (await get(ref)) as ValueOf<R>];
  }
}

/** Calls `submit` for each item, at most `inFlight` at a time; gives results as they are ready. */
export function mapUnordered<T, R>(
  submit: Submit<T, R>,
  items: Items<T>,
  options: MapOptions = {},
): AsyncGenerator<Awaited<R>, void, undefined> {
  return mapped(submit, items, options, "mapUnordered", async (running) => {
    const { ready, notReady } = await wait(running, { numReturns: 1 });
    return [ready, notReady];
  });
}

/** As mapUnordered, with the results in the order of the items. */
export function mapOrdered<T, R>(
  submit: Submit<T, R>,
  items: Items<T>,
  options: MapOptions = {},
): AsyncGenerator<Awaited<R>, void, undefined> {
  return mapped(submit, items, options, "mapOrdered", async (running) => [
    running.slice(0, 1),
    running.slice(1),
  ]);
}

// `next` splits off the calls whose values are given next.
async function* mapped<T, R>(
  submit: Submit<T, R>,
  items: Items<T>,
  options: MapOptions,
  where: string,
  next: (running: ObjectRef<R>[]) => Promise<[ObjectRef<R>[], ObjectRef<R>[]]>,
): AsyncGenerator<Awaited<R>, void, undefined> {
  const inFlight = inFlightOf(options, where);
  const call = submitOf(submit);
  const source = each(items);
  let running: ObjectRef<R>[] = [];
  let done = false;
  try {
    while (!done || running.length > 0) {
      while (!done && running.length < inFlight) {
        const item = await source.next();
        if (item.done === true) done = true;
        else running.push(call(item.value));
      }
      if (running.length === 0) return;
      const [given, left] = await next(running);
      running = left;
      for (const ref of given) yield await taken(ref);
    }
  } finally {
    await source.return();
    for (const ref of running) ref[Symbol.dispose]();
  }
}

async function taken<R>(ref: ObjectRef<R>): Promise<Awaited<R>> {
  try {
    return (await get(ref)) as Awaited<R>;
  } finally {
    ref[Symbol.dispose]();
  }
}
