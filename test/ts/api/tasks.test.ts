// SPDX-License-Identifier: Apache-2.0
// Goal: tasks do what the API says: closures, modules, refs as arguments, several returns, nesting, options, recursion.
// Method: real workers of an embedded runtime.

import { basename } from "node:path";
import { get, getSync, ObjectRef, put, remote, runtimeContext, wait } from "polyray";
import t from "tap";
import { doubled, fromHelper } from "./fixtures/functions.ts";
import { rejection, startRuntime, thrown } from "./harness.ts";

await startRuntime({ resources: { alice: 1 } });

t.test("a closure takes its variables along", async (t) => {
  const offset = 10;
  const helper = (x: number): number => x + offset;
  const f = remote((x: number) => helper(x) * 2);
  t.equal(await get(f.remote(1)), 22);
  t.same(
    await get(Array.from({ length: 400 }, (_, i) => f.remote(i))),
    Array.from({ length: 400 }, (_, i) => (i + 10) * 2),
  );
});

t.test("a function of a TypeScript module is loaded by its module", async (t) => {
  t.equal(await get(remote(doubled).remote(21)), 42);
  t.equal(await get(remote(fromHelper).remote("a")), "helped a");
});

t.test("async functions are tasks", async (t) => {
  const f = remote(async (x: number) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return x + 1;
  });
  t.equal(await get(f.remote(1)), 2);
});

t.test("top-level refs arrive as values, nested ones stay refs", async (t) => {
  const seen = remote((value: unknown, box: { ref: ObjectRef<number> }) => [
    value,
    box.ref instanceof ObjectRef,
  ]);
  const a = put(7);
  t.same(await get(seen.remote(a, { ref: a })), [7, true]);
  const sum = remote((...xs: number[]) => xs.reduce((x, y) => x + y, 0));
  const square = remote((x: number) => x * x);
  t.equal(await get(sum.remote(...[1, 2, 3].map((x) => square.remote(x)))), 14);
  const opens = remote(async (box: { ref: ObjectRef<number> }) => (await get(box.ref)) + 1);
  t.equal(await get(opens.remote({ ref: square.remote(5) })), 26);
});

t.test("big arguments are given by value, with refs beside them, again and again", async (t) => {
  const sum = remote(
    (xs: Float64Array, more: { ref: ObjectRef<number>; ys: Uint8Array }, z: number) =>
      [xs.reduce((a, b) => a + b, 0), more.ys.length, z, more.ref instanceof ObjectRef] as const,
  );
  const xs = new Float64Array(1_000_000).fill(1);
  const ys = new Uint8Array(5_000_001);
  const refs = { seven: put(7), z: put(2) };
  // Three times what the store holds: each call's arguments are freed with it.
  for (let i = 0; i < 30; i++) {
    const back = sum.remote(xs, { ref: refs.seven, ys }, refs.z);
    t.same(await get(back), [1_000_000, 5_000_001, 2, true]);
  }
});

t.test("a failed argument fails the call with its error", async (t) => {
  const fails = remote((): number => {
    throw new RangeError("too far");
  });
  const next = remote((x: number) => x + 1);
  const error = await rejection(get(next.remote(fails.remote())));
  t.equal(error.name, "TaskError");
  t.match(error.message, /too far/);
});

t.test("numReturns gives one ref per element", async (t) => {
  const pair = remote((): [number, string] => [1, "two"], { numReturns: 2 });
  const [a, b] = pair.remote();
  t.same(await get([a, b]), [1, "two"]);
  t.equal(await get(b), "two");
  const wrong = remote(() => [1, 2, 3], { numReturns: 2 });
  const [first] = wrong.remote() as ObjectRef<unknown>[];
  t.match((await rejection(get(first as ObjectRef<unknown>))).message, /numReturns 2.*array of 3/);
});

t.test("tasks start tasks; waiting parents give their CPU back", async (t) => {
  const leaf = remote((x: number) => x + 1);
  const branch = remote(
    async (x: number): Promise<number> =>
      (await get([leaf.remote(x), leaf.remote(x + 1)])).reduce((a, b) => a + b),
  );
  // More parents than CPUs: without giving back nobody could run the leaves.
  const parents = Array.from({ length: 12 }, (_, i) => branch.remote(i));
  t.same(
    await get(parents),
    Array.from({ length: 12 }, (_, i) => 2 * i + 3),
  );
  const sync = remote((x: number) => getSync(leaf.remote(x)) * 10);
  t.equal(await get(sync.remote(1)), 20);
});

t.test("a remote function calls itself, and another one that calls it back", async (t) => {
  const fib = remote(
    async (n: number): Promise<number> =>
      n < 2 ? n : (await get([fib.remote(n - 1), fib.remote(n - 2)])).reduce((a, b) => a + b),
  );
  t.equal(await get(fib.remote(6)), 8);
  const isEven = remote(
    async (n: number): Promise<boolean> => (n === 0 ? true : get(isOdd.remote(n - 1))),
  );
  const isOdd = remote(
    async (n: number): Promise<boolean> => (n === 0 ? false : get(isEven.remote(n - 1))),
  );
  t.equal(await get(isEven.remote(5)), false);
  t.equal(await get(isOdd.remote(5)), true);
});

t.test("functions are values: arguments, results and members of values", async (t) => {
  const apply = remote((f: (x: number) => number, xs: number[]) => xs.map(f));
  const by = 3;
  t.same(await get(apply.remote((x) => x * by, [1, 2])), [3, 6]);
  const make = remote((n: number) => (x: number) => x + n);
  const add = await get(make.remote(5));
  t.equal(add(1), 6);
  const named = remote((ops: Record<string, (x: number) => number>, name: string) =>
    ops[name]?.(4),
  );
  t.equal(
    await get(
      named.remote({ half: (x) => x / 2, path: (x) => basename(String(x)).length }, "half"),
    ),
    2,
  );
});

t.test("a remote function may be an argument and gets other options in the worker", async (t) => {
  const inc = remote((x: number) => x + 1);
  const twice = remote(async (f: typeof inc, x: number) =>
    get(f.options({ name: "again" }).remote(await get(f.remote(x)))),
  );
  t.equal(await get(twice.remote(inc, 1)), 3);
});

t.test("options: resources, names, environment", async (t) => {
  const where = remote(() => [
    runtimeContext().taskName,
    process.env.POLYRAY_TEST_VARIABLE ?? null,
  ]);
  t.same(
    await get(where.options({ name: "finder", resources: { alice: 1 }, numCpus: 0.5 }).remote()),
    ["finder", null],
  );
  t.same(
    await get(
      where
        .options({ name: "b", runtimeEnv: { envVars: { POLYRAY_TEST_VARIABLE: "x" } } })
        .remote(),
    ),
    ["b", "x"],
  );
  t.match(
    thrown(() => where.options({ numCpu: 1 } as never)).message,
    /no option "numCpu".*numCpus/,
  );
  t.match(thrown(() => where.options({ numCpus: -1 })).message, /numCpus must be a number >= 0/);
  t.match(thrown(() => where.options({ resources: { CPU: 1 } }).remote()).message, /use numCpus/);
});

t.test("retries run the function again; the attempt is known inside", async (t) => {
  const attempts = remote(() => {
    if (runtimeContext().attempt < 2) throw new TypeError("not yet");
    return runtimeContext().attempt;
  });
  t.equal(await get(attempts.options({ retryExceptions: true, maxRetries: 3 }).remote()), 2);
  t.equal(await get(attempts.options({ retryExceptions: [TypeError], maxRetries: 3 }).remote()), 2);
  t.match(
    (
      await rejection(
        get(attempts.options({ retryExceptions: [RangeError], maxRetries: 3 }).remote()),
      )
    ).message,
    /not yet/,
  );
  t.match((await rejection(get(attempts.remote()))).message, /not yet/);
});

t.test("wait splits refs and keeps their order", async (t) => {
  const sleep = remote(async (ms: number) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return ms;
  });
  const slow = sleep.remote(30_000);
  const quick = [sleep.remote(1), sleep.remote(2)];
  const { ready, notReady } = await wait([slow, ...quick], { numReturns: 2 });
  t.same(ready, quick);
  t.same(notReady, [slow]);
  t.same((await wait([slow], { timeoutMs: 0 })).ready, []);
  t.match((await rejection(get(slow, { timeoutMs: 10 }))).name, "TimeoutError");
  t.match((await rejection(wait([slow], { numReturns: 2 }))).message, /numReturns must be 1 to 1/);
});

t.test("calls that wait behind an async one in the same worker are not forgotten", async (t) => {
  const quick = remote((x: number) => x);
  const mixed = remote((x: number) =>
    x % 7 === 0 ? Promise.resolve(x) : new Promise<number>((resolve) => setImmediate(resolve, x)),
  );
  for (let round = 0; round < 5; round++) {
    const numbers = Array.from({ length: 400 }, (_, i) => i);
    const refs = numbers.map((i) => (i % 2 === 0 ? quick : mixed).remote(i));
    t.same(await get(refs), numbers);
  }
});
