// SPDX-License-Identifier: Apache-2.0
// Goal: interceptors wrap every call, plugins prepare every worker, graphs run often; an abort and streams go down a tree.
// Method: one embedded runtime with Python and TypeScript workers.

import {
  currentSignal,
  type GraphInput,
  get,
  graph,
  type InterceptedCall,
  ObjectRef,
  put,
  registerWorkerPlugin,
  remote,
  use,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown } from "./harness.ts";

await startRuntime();

t.test("submit sees every call and may change it", async (t) => {
  const seen: InterceptedCall[] = [];
  const add = remote(function add(a: number, b: number) {
    return a + b;
  });
  class Box {
    twice(x: number) {
      return 2 * x;
    }
  }
  const box = remote(Box).remote();
  {
    using _outer = use({ submit: (call, next) => (seen.push(call), next(call)) });
    using _inner = use({
      submit: (call, next) => next({ ...call, args: call.args.map((x) => Number(x) * 10) }),
    });
    const shown = add.options({ name: "shown" });
    t.same(await get([add.remote(1, 2), box.twice.remote(3), shown.remote(4, 5)]), [30, 60, 90]);
  }
  t.equal(await get(add.remote(1, 2)), 3, "disposed: gone");
  t.same(
    seen.map(({ kind, name, args }) => [kind, name, args]),
    [
      ["task", "add", [1, 2]],
      ["method", "Box.twice", [3]],
      ["task", "add", [4, 5]],
    ],
  );
  t.match(
    thrown(() => use({ run: () => 1 } as never)),
    { message: /no option "run"/ },
  );
  t.match(
    thrown(() => use({ submit: 1 } as never)),
    { name: "InvalidOptionError" },
  );
});

t.test("a graph is built once and run with many inputs", async (t) => {
  const add = remote((a: number, b: number) => a + b);
  const square = remote((x: number) => x * x);
  class Sum {
    #n = 0;
    add(x: number) {
      this.#n += x;
      return this.#n;
    }
  }
  const sum = remote(Sum).remote();
  const one = graph(($: GraphInput<{ x: number; y: number }>) => {
    const both = add.bind($.x, $.y);
    return add.bind(square.bind(both), both);
  });
  t.same(await Promise.all([1, 2, 3].map((x) => one.run({ x, y: 1 }))), [6, 12, 20]);
  const ref = one.execute({ x: 4, y: 0 });
  t.type(ref, ObjectRef);
  const value: number = await get(ref);
  t.equal(value, 20);
  const many = graph(($: GraphInput<{ x: number }>) => ({
    total: sum.add.bind($.x),
    squared: square.bind(add.bind($.x, put(1))),
  }));
  await using compiled = await many.compile();
  t.same(await compiled.run({ x: 2 }), { total: 2, squared: 9 });
  t.same(await compiled.run({ x: 3 }), { total: 5, squared: 16 });
  t.match(
    thrown(() => one.execute({ x: 1 } as never)),
    { message: /input "y", which is missing/ },
  );
  t.match(
    thrown(() => graph(() => 5 as never)),
    { message: /must return what bind\(\) gave/ },
  );
});

t.test("an abort at the root stops a tree of tasks; no worker is lost", async (t) => {
  const leaf = remote(async (depth: number): Promise<number> => {
    const signal = currentSignal();
    await new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    return depth;
  });
  const middle = remote(async () => get([leaf.remote(1), leaf.remote(2)]));
  const stop = new AbortController();
  const root = remote(async () => get(middle.remote()), { signal: stop.signal }).remote();
  setTimeout(() => stop.abort(new Error("enough")), 300);
  t.match(await rejection(get(root)), { name: "AbortError" });
  t.equal(await get(remote(() => 1, { numCpus: 4 }).remote()), 1, "all CPUs are free again");
});

t.test("a stream goes through two hops in order", async (t) => {
  const source = remote(
    async function* (n: number) {
      for (let i = 0; i < n; i++) yield i;
    },
    { stream: { highWaterMark: 4 } },
  );
  const hop = remote(
    async function* (n: number) {
      for await (const value of source.remote(n).values()) yield value + 1;
    },
    { stream: { highWaterMark: 4 } },
  );
  let sum = 0;
  for await (const value of hop.remote(100).values()) sum += value;
  t.equal(sum, 5050);
});

t.test("execute and plugins reach the workers", async (t) => {
  const offset = 100;
  registerWorkerPlugin({
    setup: () => {
      (globalThis as { prepared?: number }).prepared = offset;
    },
  });
  use({
    execute: async (call, next) => {
      const value = await next(call);
      return typeof value === "number" ? value + 1 : value;
    },
  });
  const prepared = remote(() => (globalThis as { prepared?: number }).prepared ?? 0);
  const outer = remote(async () => get(prepared.remote()));
  t.equal(await get(prepared.remote()), 101);
  t.equal(await get(outer.remote()), 102, "nested calls too");
  registerWorkerPlugin({
    setup: () => {
      throw new Error("not today");
    },
  });
  t.match(await rejection(get(prepared.remote())), {
    name: "RuntimeEnvSetupError",
    message: /worker plugin failed.*not today/,
  });
});
