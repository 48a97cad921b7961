// SPDX-License-Identifier: Apache-2.0
// Goal: a program does the same with mode "inline" as over processes.
// Method: one list of programs, run in both modes; what they saw must be equal. Then what only the inline mode promises.

import {
  type ActorHandle,
  ActorPool,
  cancel,
  currentSignal,
  exitActor,
  get,
  getActor,
  getSync,
  init,
  kill,
  Lock,
  listNamedActors,
  lookup,
  nodes,
  ObjectRef,
  publish,
  put,
  pyFunction,
  Queue,
  remote,
  runtimeContext,
  shutdown,
  wait,
} from "polyray";
import t from "tap";
import { rejection, thrown } from "./harness.ts";

class Counter {
  n: number;
  constructor(start = 0) {
    if (start < 0) throw new RangeError("below zero");
    this.n = start;
  }
  add(k = 1): number {
    this.n += k;
    return this.n;
  }
  fail(): never {
    throw new TypeError("no");
  }
  async late(ms: number): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.add();
  }
  *items(count: number) {
    for (let i = 0; i < count; i++) yield { i, n: this.n };
  }
  leave(): void {
    exitActor();
  }
}

t.setTimeout(180_000); // many processes start

const names = async (...promises: Promise<unknown>[]) =>
  Promise.all(promises.map(async (one) => (await rejection(one)).name));

const programs: Record<string, () => Promise<unknown>> = {
  "values are copied": async () => {
    const data = new Float64Array([1, 2]);
    const ref = put({ data, when: new Date(7), set: new Set([1n]) });
    data[0] = 9;
    const first = await get(ref);
    first.data[1] = 5;
    const changes = remote((value: { list: number[] }) => value.list.push(1));
    const given = { list: [1, 2] };
    return [
      (await get(ref)).data[0],
      first.when,
      first.set,
      await get(changes.remote(given)),
      given,
    ];
  },
  "refs, nesting, several returns": async () => {
    const fib: { remote(n: number): ObjectRef<number> } = remote(
      async (n: number): Promise<number> =>
        n < 2 ? n : (await get([fib.remote(n - 1), fib.remote(n - 2)])).reduce((a, b) => a + b),
    );
    const seen = remote((value: number, box: { ref: ObjectRef<number> }) => [
      value,
      box.ref instanceof ObjectRef,
    ]);
    const [a, b] = remote((): [number, string] => [1, "two"], { numReturns: 2 }).remote();
    const sync = remote(() => getSync(remote(() => 3).remote()) + 1);
    const ref = put(7);
    return [
      await get(fib.remote(3)),
      await get(seen.remote(ref, { ref })),
      await get([a, b]),
      await get(sync.remote()),
    ];
  },
  errors: async () => {
    const fails = remote((): number => {
      throw new RangeError("too far");
    });
    const next = remote((x: number) => x + 1);
    const error = await rejection(get(next.remote(fails.remote())));
    const symbol = thrown(() => next.remote(Symbol("x") as never));
    const unsendable = await rejection(get(remote(() => new WeakMap()).remote()));
    const gone = put(1);
    gone[Symbol.dispose]();
    return [
      error.name,
      (error.cause as Error).name,
      symbol.name,
      unsendable.name,
      thrown(() => next.options({ cpus: 1 } as never)).message,
      await names(get(gone), get(remote(() => 1, { resources: { none: 1 } }).remote())),
      await names(get(remote(() => new Promise(() => {}), { timeoutMs: 20 }).remote())),
    ];
  },
  "retries, attempts": async () => {
    const flaky = remote(
      () => {
        const { attempt } = runtimeContext();
        if (attempt < 2) throw new Error("again");
        return attempt;
      },
      { retryErrors: true },
    );
    return [await get(flaky.remote()), await names(get(flaky.options({ maxRetries: 1 }).remote()))];
  },
  "cancel: queued, running, by signal": async () => {
    const waits = remote(
      async () =>
        new Promise((_resolve, reject) => {
          const signal = currentSignal();
          signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        }),
      { numCpus: 2 },
    );
    const [running, queued] = [waits.remote(), waits.remote()];
    const split = await wait([running, queued], { timeoutMs: 100 });
    await cancel(queued);
    await cancel(running);
    const stop = new AbortController();
    const third = waits.options({ signal: stop.signal }).remote();
    setTimeout(() => stop.abort(), 20);
    return [split.ready.length, await names(get(queued), get(running), get(third))];
  },
  actors: async () => {
    const Remote = remote(Counter);
    const c = Remote.remote(10);
    const inOrder = await get([c.late.remote(20), c.add.remote(), c.add.remote(5)]);
    const viaTask = remote(async (handle: ActorHandle<Counter>) => get(handle.add.remote()));
    const items: number[] = [];
    for await (const { i, n } of c.items.remote(40).values()) items.push(i + n);
    const bad = Remote.remote(-1);
    const leaver = Remote.remote();
    return [
      inOrder,
      await get(viaTask.remote(c)),
      items.length,
      await names(get(c.fail.remote()), get(bad.add.remote()), get(leaver.leave.remote())),
      await get(c.add.remote()),
      thrown(() => (c as unknown as Record<string, unknown>).nothing).code,
    ];
  },
  "names and ends": async () => {
    const Remote = remote(Counter).options({ name: "one" });
    const c = Remote.remote(1);
    const again = Remote.options({ getIfExists: true }).remote(100);
    const found = await getActor<Counter>("one");
    const before = [
      await get(again.add.remote()),
      await get(found.add.remote()),
      await listNamedActors(),
    ];
    const taken = thrown(() => Remote.remote()).name;
    await kill(c);
    return [before, taken, await names(get(c.add.remote()), getActor("one"))];
  },
  "restarts begin anew": async () => {
    const c = remote(Counter, { maxRestarts: 1 }).remote(5);
    await get(c.add.remote());
    await kill(c, { restart: true });
    let value = 0;
    while (value === 0) value = await get(c.add.remote()).catch(() => 0);
    return value;
  },
  "generators stop early": async () => {
    const count = remote(async function* () {
      for (let i = 0; ; i++) yield i;
    });
    const got: number[] = [];
    for await (const n of count.remote().values()) {
      got.push(n);
      if (n === 20) break;
    }
    return got.length;
  },
  library: async () => {
    const queue = new Queue<number>(1);
    const puts = remote(async (to: Queue<number>) => {
      for (let i = 0; i < 3; i++) await to.put(i);
    });
    puts.remote(queue);
    const taken = [await queue.get(), await queue.get(), await queue.get()];
    const lock = new Lock("inline");
    const held = await lock.run(() => lock.locked());
    await publish("name", [1, 2], { overwrite: true });
    const pool = new ActorPool([remote(Counter).remote(), remote(Counter).remote()]);
    const results: number[] = [];
    for await (const one of pool.map((actor, k: number) => actor.add.remote(k), [0, 0, 0, 0]))
      results.push(one);
    return [taken, held, await get(await lookup("name")), results.reduce((a, b) => a + b)];
  },
  "calls that overtake one that waits": async () => {
    class Gate {
      #open: () => void = () => undefined;
      readonly #passed = new Promise<void>((resolve) => {
        this.#open = resolve;
      });
      open(): void {
        this.#open();
      }
      async wait(): Promise<number> {
        await this.#passed;
        return 100;
      }
    }
    const gate = remote(Gate, { maxConcurrency: 2 }).remote();
    const free = remote(Counter).options({ ordered: false }).remote();
    const strict = remote(Counter).remote();
    const opens = gate.wait.remote();
    const late = free.add.remote(opens);
    const early = [await get(free.add.remote(1)), await get(free.add.remote(2))];
    const inOrder = [strict.add.remote(opens), strict.add.remote(1)];
    await get(gate.open.remote());
    return [early, await get(late), await get(inOrder)];
  },
  "many calls that overtake each other": async () => {
    class Gates {
      readonly #opens: (() => void)[] = [];
      readonly #passed = Array.from(
        { length: 40 },
        (_, i) => new Promise<void>((resolve) => (this.#opens[i] = resolve)),
      );
      open(i: number): void {
        this.#opens[i]?.();
      }
      async wait(i: number): Promise<number> {
        await this.#passed[i];
        return i;
      }
    }
    const all = Array.from({ length: 40 }, (_, i) => i);
    const gates = remote(Gates, { maxConcurrency: 50 }).remote();
    const free = remote(Counter).options({ ordered: false }).remote();
    const late = all.map((i) => free.add.remote(gates.wait.remote(i)));
    const sums: number[] = [];
    for (const i of all.toReversed()) {
      await get(gates.open.remote(i));
      sums.push(await get(late[i] as ObjectRef<number>));
    }
    return sums;
  },
};

const outcomes: Record<string, Record<string, unknown>> = {};
for (const mode of ["inline", "processes"] as const) {
  t.test(`all programs run with mode ${mode}`, { timeout: 150_000 }, async (t) => {
    await init({ mode, numCpus: 2, objectStoreMemory: "64MiB", logToDriver: false });
    const seen: Record<string, unknown> = {};
    for (const [name, run] of Object.entries(programs)) seen[name] = await run();
    outcomes[mode] = seen;
    t.equal((await nodes()).length, 1);
    await shutdown();
  });
}

t.test("both modes saw the same", async (t) => {
  for (const name of Object.keys(programs))
    t.same(outcomes.inline?.[name], outcomes.processes?.[name], name);
  t.same(outcomes.inline?.["calls that overtake one that waits"], [[1, 3], 103, [100, 101]]);
  t.same(outcomes.inline?.actors, [
    [11, 12, 17],
    18,
    40,
    ["TaskError", "ActorDiedError", "ActorDiedError"],
    19,
    "INVALID_ARGUMENT",
  ]);
});

t.test("inline: functions are called as they are, in this process", async (t) => {
  await init({ mode: "inline" });
  const calls: number[] = [];
  const f = remote((x: number) => calls.push(x));
  await get([f.remote(1), f.remote(2)]);
  t.same(calls, [1, 2], "the closure is the program's own");
  t.equal(await get(remote(() => process.pid).remote()), process.pid);
  t.match(await rejection(get(pyFunction("math", "sqrt").remote(4))), {
    name: "UnschedulableError",
    message: /runs TypeScript only/,
  });
  const later = remote(async () => new Promise((resolve) => setTimeout(resolve, 5)));
  t.match(
    thrown(() => getSync(later.remote())),
    { message: /cannot wait for async functions/ },
  );
  await shutdown();
  t.match(await rejection(init({ mode: "inline", address: "auto" })), {
    name: "InvalidOptionError",
  });
  t.match(await rejection(init({ mode: "local" } as never)), {
    message: /"processes" or "inline"/,
  });
});
