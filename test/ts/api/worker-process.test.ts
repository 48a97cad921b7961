// SPDX-License-Identifier: Apache-2.0
// Goal: what a worker's process is told of its call: its GPUs, threads of numeric libraries, how to write its lines.
// Also that its metrics outlive it.
// Method: two logical GPUs; JSON lines are read from the log files of the session.

import { Counter, get, gpuIds, init, metricsText, remote, shutdown } from "polyray";
import t from "tap";
import { jsonLogLines, thrown, until } from "./harness.ts";

delete process.env.CUDA_VISIBLE_DEVICES;
delete process.env.OMP_NUM_THREADS;
new Counter("early").inc(2);
await new Promise((resolve) => setTimeout(resolve, 300)); // its sending was tried: there is no runtime yet
const runtime = await init({
  numCpus: 4,
  numGpus: 2,
  metricsPort: 0,
  objectStoreMemory: "64MiB",
  logToDriver: false,
  logging: { encoding: "json", level: "warning", attrs: ["process"] },
});
t.teardown(() => shutdown());
const scraped = await (await fetch(String(runtime.metricsUrl))).text();

const seen = remote(() => ({
  ids: gpuIds(),
  visible: process.env.CUDA_VISIBLE_DEVICES ?? null,
  threads: process.env.OMP_NUM_THREADS ?? null,
}));

t.test("tasks and actors see their GPUs, and none when they asked for none", async (t) => {
  t.same(gpuIds(), []);
  t.same(await get(seen.remote()), { ids: [], visible: null, threads: "1" });
  t.same(await get(seen.options({ numGpus: 2, numCpus: 2 }).remote()), {
    ids: [0, 1],
    visible: "0,1",
    threads: "2",
  });
  t.same(await get(seen.remote()), { ids: [], visible: null, threads: "1" }, "it goes again");
  class Holder {
    ids(): (number | string)[] {
      return gpuIds();
    }
    visible(): string | undefined {
      return process.env.CUDA_VISIBLE_DEVICES;
    }
  }
  const holders = [1, 2].map(() => remote(Holder, { numGpus: 1 }).remote());
  const ids = await get(holders.map((one) => one.ids.remote()));
  t.same(ids.flat().sort(), [0, 1], "each has another one");
  t.equal(await get((holders[0] as (typeof holders)[0]).visible.remote()), String(ids[0]?.[0]));
});

t.test("logging: lines of workers are JSON objects from the level on", async (t) => {
  const talks = remote(
    () => {
      console.info("not shown");
      console.warn("two\nlines %d", 5);
      return process.pid;
    },
    { name: "talks" },
  );
  const pid = await get(talks.remote());
  const lines = () => jsonLogLines(runtime.sessionDir);
  await until(() => lines().length > 0);
  const [line, ...more] = lines();
  t.same(more, []);
  t.match(line, {
    levelname: "WARNING",
    message: "two\nlines 5",
    process: pid,
    task_name: "talks",
    node_id: runtime.nodeId,
    asctime: /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}$/,
  });
  const wrong = await init({ logging: { level: "loud" } as never }).then(
    () => null,
    (error: Error) => error,
  );
  t.match(wrong, { name: "InvalidOptionError", message: /logging must be .*level is "loud"/ });
  t.match(
    thrown(() => seen.options({ numGpus: 1.5 })),
    { name: "InvalidOptionError" },
  );
});

t.test("metrics recorded before init, or just before a worker left, are not lost", async (t) => {
  t.match(scraped, /^polyray_early 2$/m);
  const leaving = new Counter("leaving");
  const once = remote(() => leaving.inc(), { maxCalls: 1 });
  await get([once.remote(), once.remote(), once.remote()]);
  class Ends {
    end(): void {
      leaving.inc(10);
      process.kill(process.pid, "SIGTERM");
    }
  }
  const ends = remote(Ends, { maxRestarts: 0 }).remote();
  await get(ends.end.remote()).catch(() => undefined);
  await until(async () => /^polyray_leaving 13$/m.test(await metricsText()));
});
