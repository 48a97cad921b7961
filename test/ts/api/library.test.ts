// SPDX-License-Identifier: Apache-2.0
// Goal: the library around tasks: maps, work by file, queues, elastic pools, moved buffers, owners, waits, progress.
// Method: one embedded runtime; each test uses real workers.

import { spawnSync } from "node:child_process";
import {
  ActorPool,
  asCompleted,
  get,
  kill,
  logOnce,
  mapOrdered,
  mapUnordered,
  ObjectRef,
  objectInfo,
  progress,
  put,
  Queue,
  refScope,
  remote,
  remoteClass,
  runOnNodes,
  runtimeContext,
  transfer,
  waitForNodes,
  waitForResources,
} from "polyray";
import t from "tap";
import type { Tally } from "./fixtures/pool-work.ts";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

const runtime = await startRuntime({ resources: { alice: 2 } });
const file = new URL("./fixtures/pool-work.ts", import.meta.url);

t.test("map submits a list in one call", async (t) => {
  const square = remote((x: number) => x * x);
  t.same(await get(square.map([1, 2, put(3)])), [1, 4, 9]);
  t.equal(
    (await get(square.map(new Set(Array.from({ length: 300 }, (_, i) => i)), { batch: 64 })))
      .length,
    300,
  );
  t.match(
    thrown(() => square.map([1], { batch: 0 })),
    { name: "InvalidOptionError" },
  );
  class Adder {
    add(x: number) {
      return x + 1;
    }
  }
  const adder = remote(Adder).remote();
  t.same(await get(adder.add.map([1, 2])), [2, 3]);
});

t.test("work is named by file and export", async (t) => {
  const add = remote<[{ a: number; b: number }], number>({ file });
  t.equal(await get(add.remote({ a: 1, b: 2 })), 3);
  const fail = remote<[string], never>({
    file: "./test/ts/api/fixtures/pool-work.ts",
    export: "fail",
  });
  t.match(await rejection(get(fail.remote("no"))), {
    name: "TaskError",
    cause: { name: "RangeError" },
  });
  const tally = remoteClass<typeof Tally>({ file, export: "Tally" }).remote();
  tally.add.remote(1);
  t.equal(await get(tally.add.remote(2)), 3);
  t.match(
    thrown(() => remote({ file, name: "x" } as never)),
    { message: /has no "name"/ },
  );
  t.match(await rejection(get(remote({ file, export: "gone" }).remote())), {
    message: /no function or class "gone"/,
  });
});

t.test("maps bound what is in flight and end early", async (t) => {
  const square = remote((x: number) => x * x);
  const seen: number[] = [];
  for await (const value of mapOrdered(square, [1, 2, 3, 4], { inFlight: 2 })) seen.push(value);
  t.same(seen, [1, 4, 9, 16]);
  let asked = 0;
  async function* endless() {
    for (;;) yield asked++;
  }
  for await (const value of mapUnordered(square, endless(), { inFlight: 3 }))
    if (value >= 25) break;
  t.ok(asked < 20, "the source is not read ahead");
  const got: number[] = [];
  for await (const [ref, value] of asCompleted([5, 6].map((x) => square.remote(x)))) {
    t.type(ref, ObjectRef);
    got.push(value);
  }
  t.same(got.sort(), [25, 36]);
});

t.test("a queue has batches, close, a loop, names and types", async (t) => {
  const queue = new Queue<string>({ maxSize: 3, name: "shared-queue" });
  await queue.putBatch(["a", "b"]);
  t.match(await rejection(queue.putNowaitBatch(["c", "d"])), { message: /no room for 2 items/ });
  await queue.putNowait("c");
  t.match(await rejection(queue.putNowait("d")), { code: "GET_TIMEOUT" });
  t.same(await queue.getNowaitBatch(2), ["a", "b"]);
  t.match(await rejection(queue.getNowaitBatch(2)), { message: /fewer than 2/ });
  t.equal(await queue.getNowait(), "c");
  t.match(await rejection(queue.getNowait()), { name: "TimeoutError" });
  t.equal(await queue.empty(), true);
  const same = new Queue<string>({ name: "shared-queue", getIfExists: true });
  await same.put("through");
  t.equal(await queue.get(), "through");
  const fill = remote(async (to: Queue<string>) => {
    for (const item of ["x", "y", "z", "w"]) await to.put(item);
    await to.close();
  });
  fill.remote(queue);
  const items: string[] = [];
  for await (const item of queue) items.push(item);
  t.same(items, ["x", "y", "z", "w"]);
  t.match(await rejection(queue.put("late")), { code: "CLOSED" });
  t.match(await rejection(queue.get()), { code: "CLOSED" });
  await queue.shutdown();
  t.match(
    thrown(() => new Queue({ maxSize: -1 })),
    { name: "InvalidOptionError" },
  );
  t.match(
    thrown(() => new Queue({ size: 1 } as never)),
    { message: /no option "size"/ },
  );
});

t.test("an elastic pool grows to its limit and shrinks", async (t) => {
  class Slow {
    async work(x: number) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return x * 2;
    }
  }
  const Remote = remote(Slow, { numCpus: 0 });
  await using pool = new ActorPool(() => Remote.remote(), { min: 1, max: 3, idleMs: 30 });
  t.equal(pool.size, 1);
  const results: number[] = [];
  for await (const value of pool.mapUnordered(
    (actor, x: number) => actor.work.remote(x),
    [1, 2, 3, 4, 5],
  ))
    results.push(value);
  t.same(
    results.sort((a, b) => a - b),
    [2, 4, 6, 8, 10],
  );
  await until(() => pool.size === 1);
  t.match(
    thrown(() => new ActorPool(() => Remote.remote(), { min: 2, max: 1 })),
    { name: "InvalidOptionError" },
  );
});

t.test("a moved buffer is empty here and read in place there", async (t) => {
  const data = new Float64Array(100_000).fill(1);
  const sum = remote((values: Float64Array) => values.reduce((a, b) => a + b, 0));
  t.equal(await get(sum.remote(transfer(data))), 100_000);
  t.equal(data.length, 0);
  t.match(
    thrown(() => transfer(new Uint8Array(new SharedArrayBuffer(8)) as never)),
    { code: "INVALID_ARGUMENT" },
  );
});

t.test("an object lives as long as its owner", async (t) => {
  class Owner {
    ping() {
      return 1;
    }
  }
  const owner = remote(Owner).remote();
  await get(owner.ping.remote());
  const kept = put("kept", { owner });
  const given = put("given");
  await transfer(given, owner);
  const ids = [kept.id, given.id];
  kept[Symbol.dispose]();
  given[Symbol.dispose]();
  {
    using first = ObjectRef.fromId(ids[0] as string);
    using second = ObjectRef.fromId(ids[1] as string);
    t.same(await get([first, second]), ["kept", "given"]);
  }
  await kill(owner);
  await until(() => {
    try {
      ObjectRef.fromId(ids[1] as string)[Symbol.dispose]();
      return false;
    } catch {
      return true;
    }
  });
  t.match(
    thrown(() => put(1, { holder: owner } as never)),
    { message: /no option "holder"/ },
  );
});

t.test("refs know their task, their place, their size", async (t) => {
  const who = remote(() => runtimeContext().taskId, {});
  const ref = who.remote();
  t.equal(ref.taskId, await get(ref));
  const [a, b] = remote((): [number, string | null] => [1, runtimeContext().taskId], {
    numReturns: 2,
  }).remote();
  t.equal(b.taskId, await get(b));
  t.equal(a.taskId, b.taskId);
  const stored = put(new Uint8Array(1000));
  t.equal(stored.taskId, null);
  t.equal(stored.callSite, null);
  t.match(await objectInfo(stored), { id: stored.id, state: "ready", nodes: [runtime.nodeId] });
  t.ok((await objectInfo(stored)).sizeBytes >= 1000);
  const dropped = refScope((scope) => {
    const inside = put(1);
    scope.keep(put(2));
    return [inside.id];
  });
  t.match(
    thrown(() => ObjectRef.fromId(dropped[0] as string)),
    { code: "OBJECT_FREED" },
  );
  const script = `import { put, shutdown } from "polyray"; console.log(put(1).callSite); await shutdown();`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...process.env, POLYRAY_CALL_SITES: "1" },
    encoding: "utf8",
  });
  t.match(child.stdout, /eval1\]?:1:\d+/);
});

t.test("waits for nodes and resources; runs on each node; says things once", async (t) => {
  t.equal((await waitForNodes(1)).length, 1);
  t.match(await rejection(waitForNodes(2, { timeoutMs: 30 })), {
    message: /1 of 2 nodes came within 30 ms/,
  });
  t.equal((await waitForResources({ alice: 2 })).alice, 2);
  t.match(await rejection(waitForResources({ alice: 3 }, { timeoutMs: 0 })), {
    message: /only alice 2 became free/,
  });
  t.match(await rejection(waitForResources({ alice: 3 }, { signal: AbortSignal.abort() })), {
    name: "AbortError",
  });
  t.same(await runOnNodes((x: number) => x + 1, 1), { [runtime.nodeId]: 2 });
  t.same([logOnce("key"), logOnce("key"), logOnce("other")], [true, false, true]);
});

t.test("progress tells how far a loop is", async (t) => {
  const lines: string[] = [];
  const square = remote((x: number) => x * x);
  const refs = [1, 2, 3].map((x) => square.remote(x));
  let count = 0;
  for await (const _pair of progress(asCompleted(refs), {
    desc: "squares",
    total: 3,
    everyMs: 0,
    write: (line) => lines.push(line),
  }))
    count++;
  t.equal(count, 3);
  t.match(lines[0], /^squares: 1\/3 33% \[/);
  t.match(lines.at(-1), /^squares: 3\/3 100% \[\d+\.\d s, \d+\.\d\/s\]$/);
});
