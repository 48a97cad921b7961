// SPDX-License-Identifier: Apache-2.0
// Goal: locks, semaphores, events, variables, topics, published objects and life signs hold over processes.
// Method: tasks and actors of one embedded runtime as the other processes; a holder is killed.

import {
  Event,
  get,
  heartbeat,
  kill,
  Lock,
  listPublished,
  lookup,
  type ObjectRef,
  publish,
  put,
  remote,
  runtimeContext,
  Semaphore,
  Topic,
  unpublish,
  Variable,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime();

t.test("one holds a lock at one time, over processes", async (t) => {
  const counter = new Variable<number>("counter");
  await counter.set(0);
  const lock = new Lock("counter");
  const add = remote(async () => {
    await using _held = await lock.acquire();
    const seen = await counter.get();
    await new Promise((resolve) => setTimeout(resolve, 2));
    await counter.set(seen + 1);
  });
  await get(Array.from({ length: 12 }, () => add.remote()));
  t.equal(await counter.get(), 12);
  t.equal(await lock.locked(), false);
  t.equal(await lock.run(() => "inside"), "inside");
});

t.test("waiting has a time limit and a signal; a lock that was left is free", async (t) => {
  const lock = new Lock("limits");
  const held = await lock.acquire();
  t.equal(held.held, true);
  t.equal(await lock.tryAcquire(), null);
  t.match(await rejection(lock.acquire({ timeoutMs: 20 })), {
    code: "GET_TIMEOUT",
    name: "TimeoutError",
    message: /"limits" was not free within 20 ms/,
  });
  const stop = new AbortController();
  const waiting = rejection(lock.acquire({ signal: stop.signal }));
  stop.abort(new Error("enough"));
  t.match((await waiting).message, /enough/);
  t.equal(await held.release(), true);
  t.equal(await held.release(), false);
  const second = await lock.tryAcquire();
  t.equal(second?.held, true);
  await lock.release();
  t.equal(second?.held, false);
  t.match((await rejection(lock.release())).message, /holds nothing of "limits"/);
});

t.test("the death of a holder frees what it held", async (t) => {
  const lock = new Lock("mortal");
  class Holder {
    async hold() {
      await lock.acquire();
      return true;
    }
  }
  const holder = remote(Holder).remote();
  await get(holder.hold.remote());
  t.equal(await lock.locked(), true);
  const waiting = lock.acquire();
  await kill(holder);
  t.equal((await waiting).held, true);
  await lock.release();
});

t.test("a lease that is not renewed is lost; one that is renewed lives on", async (t) => {
  const lock = new Lock("leased", { leaseMs: 90 });
  const held = await lock.acquire();
  const other = await lock.acquire({ timeoutMs: 200 }).catch((error: Error) => error);
  t.match(other, { code: "GET_TIMEOUT" }, "it is renewed while the loop runs");
  const lost = new Promise((resolve) =>
    held.lost.addEventListener("abort", resolve, { once: true }),
  );
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200); // the loop stands still
  await lost;
  t.equal(held.held, false);
  t.equal(await lock.locked(), false);
});

t.test("a semaphore lets so many in, in the order asked", async (t) => {
  const gate = new Semaphore("gate", 2);
  const a = await gate.acquire();
  await gate.acquire();
  t.equal(await gate.available(), 0);
  const order: number[] = [];
  const third = gate.acquire({ count: 2 }).then(() => order.push(3));
  const fourth = gate.acquire().then(() => order.push(4));
  await a.release();
  await gate.release();
  await third;
  t.same(order, [3], "a big request is not overtaken");
  await gate.release();
  await fourth;
  await gate[Symbol.asyncDispose]();
  t.equal(await gate.available(), 2);
  await gate.acquire();
  t.match((await rejection(new Semaphore("gate", 3).acquire())).message, /has 2 permits, not 3/);
  t.match((await rejection(gate.acquire({ count: 5 }))).message, /5 can never be taken/);
  await gate.release();
  t.match(
    thrown(() => new Semaphore("x", 0)),
    { name: "InvalidOptionError" },
  );
  t.match(
    thrown(() => new Lock("")),
    { name: "InvalidOptionError" },
  );
  t.match(
    thrown(() => new Lock("x", { lease: 1 } as never)),
    { message: /no option "lease"/ },
  );
});

t.test("an event wakes all who wait, in every process", async (t) => {
  const start = new Event("start");
  const waits = remote(async (i: number) => {
    await start.wait();
    return i;
  });
  const refs = [waits.remote(1), waits.remote(2)];
  t.equal(await start.isSet(), false);
  t.match(await rejection(start.wait({ timeoutMs: 20 })), { code: "GET_TIMEOUT" });
  await start.set();
  t.same(await get(refs), [1, 2]);
  await start.wait();
  await start.clear();
  t.equal(await start.isSet(), false);
});

t.test("a variable waits for its first value, carries refs, and is deleted", async (t) => {
  const later = new Variable<{ ref: ObjectRef<string>; at: Date }>("later");
  const sets = remote(async (variable: Variable<{ ref: ObjectRef<string>; at: Date }>) => {
    await variable.set({ ref: put("inside"), at: new Date(5) });
  });
  const value = later.get();
  sets.remote(later);
  const { ref, at } = await value;
  t.equal(await get(ref), "inside");
  t.same(at, new Date(5));
  t.equal(await later.delete(), true);
  t.equal(await later.delete(), false);
  t.match(await rejection(later.get({ timeoutMs: 0 })), { code: "GET_TIMEOUT" });
  t.match(
    await rejection(new Variable("later", { namespace: "other" }).get({ timeoutMs: 0 })),
    { code: "GET_TIMEOUT" },
    "names belong to a namespace",
  );
});

t.test("each follower of a topic gets each event, in order", async (t) => {
  const topic = new Topic<number>("numbers");
  const stop = new AbortController();
  const [first, second] = await Promise.all([
    topic.subscribe(),
    topic.subscribe({ signal: stop.signal }),
  ]);
  const publishes = remote(async (to: Topic<number>) => {
    for (let i = 0; i < 100; i++) await to.publish(i);
  });
  publishes.remote(topic);
  const got: number[] = [];
  for await (const n of first) {
    got.push(n);
    if (n === 99) break;
  }
  t.same(
    got,
    Array.from({ length: 100 }, (_, i) => i),
  );
  let count = 0;
  for await (const n of second) {
    count++;
    if (n === 99) stop.abort();
  }
  t.equal(count, 100, "the signal ends the loop");
});

t.test("published objects are found by name, live without their ref, and end", async (t) => {
  const ref = put({ rows: [1, 2, 3] });
  await publish("train-v3", ref);
  ref[Symbol.dispose]();
  const reads = remote(
    async () => (await get(await lookup<{ rows: number[] }>("train-v3"))).rows.length,
  );
  t.equal(await get(reads.remote()), 3);
  t.match((await rejection(publish("train-v3", 1))).message, /is published: pass overwrite: true/);
  await publish("train-v3", "new", { overwrite: true });
  t.equal(await get(await lookup("train-v3")), "new");
  await publish("short", 1, { ttlMs: 20 });
  t.same((await listPublished()).sort(), ["short", "train-v3"]);
  await until(async () => (await listPublished()).length === 1);
  t.match(await rejection(lookup("short")), { code: "OBJECT_FREED", message: /"short"/ });
  t.equal(await unpublish("train-v3"), true);
  t.equal(await unpublish("train-v3"), false);
  t.match(await rejection(publish("", 1)), { name: "InvalidOptionError" });
});

t.test("a task that is run again goes on from its last life sign", async (t) => {
  const resumes = remote(
    async () => {
      const { attempt, lastHeartbeat } = runtimeContext();
      const from = (lastHeartbeat as { done: number } | null)?.done ?? 0;
      for (let done = from + 1; done <= 5; done++) {
        await heartbeat({ done });
        if (attempt === 0 && done === 3) process.exit(1);
      }
      return { attempt, from };
    },
    { maxRetries: 2 },
  );
  t.same(await get(resumes.remote()), { attempt: 1, from: 3 });
  t.match((await rejection(heartbeat())).message, /inside of tasks/);
});
