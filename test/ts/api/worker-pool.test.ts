// SPDX-License-Identifier: Apache-2.0
// Goal: WorkerPool does what a Piscina user expects: modules, exports, signals, queue limits, numbers, events, its end.
// Method: pools over a module of the fixtures and over a function, in one runtime.

import { once } from "node:events";
import { currentSignal, WorkerPool } from "polyray";
import t from "tap";
import type * as work from "./fixtures/pool-work.ts";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime({ numCpus: 2 });
const filename = new URL("./fixtures/pool-work.ts", import.meta.url);

t.test("a pool runs exports of a module and keeps its workers", async (t) => {
  await using pool = new WorkerPool<unknown, unknown>({
    filename,
    minThreads: 2,
    maxThreads: 2,
    workerData: { secret: 7 },
    env: { POOL_TEST: "set" },
  });
  t.equal(await pool.run({ a: 4, b: 6 }), 10);
  t.same(await Promise.all([1, 2, 3, 4, 5].map((a) => pool.run({ a, b: 1 }))), [2, 3, 4, 5, 6]);
  type Where = ReturnType<typeof work.where>;
  const seen = (await Promise.all(
    Array.from({ length: 20 }, () => pool.run(null, { name: "where" })),
  )) as Where[];
  t.equal(new Set(seen.map((one) => one.pid)).size, 2, "two processes share the work");
  t.equal(seen[0]?.env, "set");
  t.same(seen[0]?.context.workerData, { secret: 7 });
  t.ok(
    seen.some((one) => one.calls > 0),
    "module state is kept",
  );
  t.equal(pool.threads.length, 2);
  t.equal(pool.completed, 26);
  t.equal(pool.queueSize, 0);
  t.ok(pool.utilization > 0 && pool.utilization <= 1);
  t.equal(pool.runTime.count, 26);
  t.ok(pool.runTime.max >= pool.runTime.p50 && pool.waitTime.average >= 0);
  const error = await rejection(pool.run("too far", { name: "fail" }));
  t.match(error, { name: "RangeError", message: "too far" });
  t.match((await rejection(pool.run(1, { name: "nothing" }))).message, /no function "nothing"/);
  t.match(await rejection(pool.run(1, { name: "crash" })), { name: "ActorDiedError" });
  await until(() => pool.threads.length === 2);
  t.equal(await pool.run({ a: 1, b: 1 }), 2, "a dead worker is replaced");
  const data = new Uint8Array([1, 2, 3]);
  t.equal(await pool.run(data, { name: "bytes", transferList: [data.buffer] }), 6);
  t.equal(data.byteLength, 0, "it was moved");
  const inside = { data: new Uint8Array([4, 5]) };
  t.equal(await pool.run(inside, { name: "bytes", transferList: [inside.data] }), 9);
  t.equal(inside.data.byteLength, 0);
});

t.test("a signal takes a task out of the queue, stops it, or costs its worker", async (t) => {
  await using pool = new WorkerPool<unknown, unknown>({ filename, minThreads: 1, maxThreads: 1 });
  const [first, second] = [new AbortController(), new AbortController()];
  const polite = rejection(pool.run(60_000, { name: "polite", signal: first.signal }));
  const queued = rejection(pool.run({ a: 1, b: 1 }, { signal: second.signal }));
  t.equal(pool.queueSize, 1);
  second.abort();
  t.equal((await queued).name, "AbortError");
  first.abort(new Error("enough"));
  t.match(await polite, { name: "AbortError", cause: { message: "enough" } });
  const third = new AbortController();
  const stubborn = rejection(pool.run(1, { name: "stubborn", signal: third.signal }));
  setTimeout(() => third.abort(), 50);
  t.equal((await stubborn).name, "AbortError");
  t.equal(await pool.run({ a: 2, b: 2 }), 4, "the next worker goes on");
  t.match(await rejection(pool.run(1, { signal: AbortSignal.abort() })), { name: "AbortError" });
});

t.test("the queue has a limit, events tell of it", async (t) => {
  const pool = new WorkerPool<number, Promise<number>>({
    task: async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return ms;
    },
    minThreads: 1,
    maxThreads: 1,
    maxQueue: 2,
  });
  let asked = 0;
  pool.on("needsDrain", () => asked++);
  const drained = once(pool, "drain");
  const runs = [1, 2, 3].map((ms) => pool.run(ms));
  t.equal(pool.needsDrain, true);
  t.equal(asked, 1);
  t.match(await rejection(pool.run(4)), { name: "LimitError", message: /limit of 2 tasks/ });
  t.same(await Promise.all(runs), [1, 2, 3]);
  await drained;
  t.equal(pool.needsDrain, false);
  const last = pool.run(30);
  await pool.close();
  t.equal(await last, 30, "close waits for what runs");
  t.match(await rejection(pool.run(1)), { code: "CLOSED" });
});

t.test("a pool grows with its queue and shrinks when it is idle", async (t) => {
  const pool = new WorkerPool<number, Promise<number>>({
    task: async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, ms, currentSignal()));
      return process.pid;
    },
    minThreads: 0,
    maxThreads: 3,
    concurrentTasksPerWorker: 2,
    idleTimeout: 20,
  });
  t.equal(pool.threads.length, 0);
  const pids = await Promise.all(Array.from({ length: 6 }, () => pool.run(30)));
  t.equal(new Set(pids).size, 3);
  await until(() => pool.threads.length === 0);
  const endless = rejection(pool.run(60_000));
  await pool.destroy();
  t.match(await endless, { code: "CLOSED" });
  t.match(
    thrown(() => new WorkerPool({ minThreads: 3, maxThreads: 2 })),
    {
      message: /minThreads \(3\) is above maxThreads \(2\)/,
    },
  );
  t.match(
    thrown(() => new WorkerPool({ threads: 3 } as never)),
    { name: "InvalidOptionError" },
  );
});
