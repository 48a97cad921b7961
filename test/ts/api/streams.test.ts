// SPDX-License-Identifier: Apache-2.0
// Goal: generator tasks, maps with bounded work, pools and queues.
// Method: real workers of an embedded runtime.

import {
  ActorPool,
  asCompleted,
  get,
  mapOrdered,
  mapUnordered,
  type ObjectRef,
  Queue,
  remote,
  wait,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown } from "./harness.ts";

await startRuntime();

t.test("a generator task gives its items as they are made", async (t) => {
  const count = remote(function* (n: number) {
    for (let i = 0; i < n; i++) yield i * i;
  });
  const values: number[] = [];
  for await (const value of count.remote(50).values()) values.push(value);
  t.same(
    values,
    Array.from({ length: 50 }, (_, i) => i * i),
  );
  const refs: ObjectRef<number>[] = [];
  for await (const ref of count.remote(3)) refs.push(ref);
  t.same(await get(refs), [0, 1, 4]);
});

t.test("errors and early ends of generators", async (t) => {
  const fails = remote(async function* () {
    yield 1;
    throw new RangeError("after one");
  });
  const seen: number[] = [];
  const error = await rejection(
    (async () => {
      for await (const value of fails.remote().values()) seen.push(value);
    })(),
  );
  t.same(seen, [1]);
  t.match(error.message, /after one/);
  const endless = remote(async function* () {
    for (let i = 0; ; i++) yield i;
  });
  for await (const value of endless
    .options({ stream: { highWaterMark: 2 } })
    .remote()
    .values())
    if (value === 5) break;
  class Feed {
    *items(n: number): Generator<string, void, undefined> {
      for (let i = 0; i < n; i++) yield `item ${i}`;
    }
  }
  const got: string[] = [];
  for await (const value of remote(Feed).remote().items.remote(2).values()) got.push(value);
  t.same(got, ["item 0", "item 1"]);
});

t.test("an actor's events are an async generator method; its getters are not remote", async (t) => {
  class Bus {
    #waiting: ((event: string) => void)[] = [];
    get size(): number {
      return this.#waiting.length;
    }
    listeners(): number {
      return this.size;
    }
    tell(event: string): void {
      for (const wake of this.#waiting.splice(0)) wake(event);
    }
    async *events(): AsyncGenerator<string, void, undefined> {
      for (;;) {
        const event = await new Promise<string>((wake) => this.#waiting.push(wake));
        if (event === "end") return;
        yield event;
      }
    }
  }
  const bus = remote(Bus, { maxConcurrency: 4 }).remote();
  const listen = async (): Promise<string[]> => {
    const heard: string[] = [];
    for await (const event of bus.events.remote()) heard.push(await get(event));
    return heard;
  };
  const listeners = [listen(), listen()];
  for (const event of ["one", "two", "end"]) {
    while ((await get(bus.listeners.remote())) < 2) await new Promise((next) => setImmediate(next));
    await get(bus.tell.remote(event));
  }
  t.same(await Promise.all(listeners), [
    ["one", "two"],
    ["one", "two"],
  ]);
  const getter = thrown(() => (bus as unknown as { size: unknown }).size);
  t.match(getter.message, /Bus has no method "size"; it has: listeners, tell, events/);
});

t.test("maps keep a bound and an order", async (t) => {
  const late = remote(async (x: number) => {
    await new Promise((resolve) => setTimeout(resolve, x % 2 === 0 ? 20 : 1));
    return x * 2;
  });
  const ordered: number[] = [];
  for await (const value of mapOrdered(late, [0, 1, 2, 3, 4], { inFlight: 2 })) ordered.push(value);
  t.same(ordered, [0, 2, 4, 6, 8]);
  const any: number[] = [];
  for await (const value of mapUnordered(late, [0, 1, 2, 3, 4], { inFlight: 3 })) any.push(value);
  t.same(
    any.sort((a, b) => a - b),
    [0, 2, 4, 6, 8],
  );
  const pairs: [ObjectRef<number>, number][] = [];
  for await (const pair of asCompleted([late.remote(0), late.remote(1)])) pairs.push(pair);
  t.same(pairs.map(([, value]) => value).sort(), [0, 2]);
});

t.test("a pool gives work to whoever is free", async (t) => {
  class Worker {
    square(x: number): number {
      return x * x;
    }
  }
  const Remote = remote(Worker);
  const pool = new ActorPool([Remote.remote(), Remote.remote()]);
  const results: number[] = [];
  for await (const value of pool.map((actor, x: number) => actor.square.remote(x), [1, 2, 3, 4, 5]))
    results.push(value);
  t.same(results, [1, 4, 9, 16, 25]);
  pool.submit((actor, x: number) => actor.square.remote(x), 6);
  t.ok(pool.hasNext());
  t.equal(await pool.getNextUnordered(), 36);
  t.notOk(pool.hasNext());
});

t.test("a queue is shared by processes", async (t) => {
  const queue = new Queue<number>(2);
  const fill = remote(async (q: Queue<number>, n: number) => {
    for (let i = 0; i < n; i++) await q.put(i);
  });
  const filling = fill.remote(queue, 5);
  const taken: number[] = [];
  for (let i = 0; i < 5; i++) taken.push(await queue.get());
  t.same(taken, [0, 1, 2, 3, 4]);
  await get(filling);
  t.equal((await rejection(queue.get({ timeoutMs: 10 }))).name, "TimeoutError");
  await queue.put(1);
  await queue.put(2);
  t.equal((await rejection(queue.put(3, { timeoutMs: 10 }))).name, "TimeoutError");
  t.ok(await queue.full());
  await queue.shutdown();
});

t.test("a burst of 3000 tasks", async (t) => {
  const inc = remote((x: number) => x + 1);
  const refs = Array.from({ length: 3000 }, (_, i) => inc.remote(i));
  t.equal(
    (await get(refs)).reduce((a, b) => a + b, 0),
    (3000 * 3001) / 2,
  );
  t.equal((await wait(refs, { numReturns: refs.length })).notReady.length, 0);
});
