// SPDX-License-Identifier: Apache-2.0
// Goal: every option of tasks, actors and methods is checked and does what it says.
// Method: real workers of one embedded runtime; counters live in files or actors, never in time.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  availableResources,
  get,
  kill,
  method,
  type ObjectRef,
  PendingCallsLimitExceeded,
  pyFunction,
  remote,
  runtimeContext,
  wait,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown } from "./harness.ts";

await startRuntime({ resources: { alice: 2 }, memory: "2GiB", numGpus: 1 });

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

t.test("wrong options are named with what is allowed", (t) => {
  const f = remote((x: number) => x);
  class A {
    m(): number {
      return 1;
    }
  }
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ numCpus: "2" }, /numCpus must be a number >= 0, not "2"/],
    [{ numCpus: 0.00009 }, /numCpus must be 0 or at least 0\.0001, not 0\.00009/],
    [{ numGpus: 1e-9 }, /numGpus must be 0 or at least 0\.0001/],
    [
      { resources: { alice: 1e-9 } },
      /resources must be an object of numbers that are 0 or at least/,
    ],
    [{ numGpus: 1.5 }, /numGpus must be a share of one GPU \(up to 1\) or a whole number/],
    [{ memory: "lots" }, /memory must be bytes .*"4GiB"/],
    [{ resources: { alice: -1 } }, /resources must be an object of numbers >= 0/],
    [{ resources: [] }, /resources must be/],
    [{ name: "" }, /name must be a non-empty string/],
    [{ maxRetries: -2 }, /maxRetries must be a whole number >= -1/],
    [{ maxRetries: 1.5 }, /maxRetries must be a whole number/],
    [{ retryExceptions: "yes" }, /retryExceptions must be true, false, a list of error classes or/],
    [{ retryErrors: [1] }, /retryErrors must be/],
    [{ retry: { backoff: "wild" } }, /retry must be .*backoff is "wild"/],
    [{ retry: { tries: 3 } }, /retry must be .*tries is 3/],
    [{ maxCalls: -1 }, /maxCalls must be a whole number >= 0/],
    [{ numReturns: 0 }, /numReturns must be a whole number >= 1 or "streaming"/],
    [{ numReturns: "dynamic" }, /numReturns must be/],
    [{ signal: {} }, /signal must be an AbortSignal/],
    [{ timeoutMs: -1 }, /timeoutMs must be a number >= 0/],
    [{ stream: { highWaterMark: -1 } }, /stream must be true or an object/],
    [{ stream: { size: 1 } }, /stream must be/],
    [{ runtimeEnv: [] }, /runtimeEnv must be/],
    [{ priority: 0.5 }, /priority must be a whole number/],
    [{ isolation: "thread" }, /isolation must be "process"/],
    [{ idempotencyKey: 3 }, /idempotencyKey must be a non-empty string/],
    [{ maxRestarts: 1 }, /no option "maxRestarts". Valid options: .*maxRetries/],
    [{ num_cpus: 1 }, /no option "num_cpus". Valid options: numCpus/],
  ];
  for (const [options, message] of wrong) {
    const error = thrown(() => f.options(options as never));
    t.equal(error.name, "InvalidOptionError", JSON.stringify(options));
    t.equal(error.code, "INVALID_OPTION");
    t.match(error.message, message);
    t.match(thrown(() => remote((x: number) => x, options as never)).message, message);
  }
  const wrongActor: [Record<string, unknown>, RegExp][] = [
    [{ maxRetries: 1 }, /no option "maxRetries". Valid options: .*maxRestarts/],
    [{ lifetime: "forever" }, /lifetime must be "detached" or "non_detached"/],
    [{ maxConcurrency: 0 }, /maxConcurrency must be a whole number >= 1/],
    [{ concurrencyGroups: { io: 0 } }, /concurrencyGroups must be an object of whole numbers >= 1/],
    [{ maxPendingCalls: -2 }, /maxPendingCalls must be a whole number >= -1/],
    [{ getIfExists: 1 }, /getIfExists must be true or false/],
    [{ namespace: "" }, /namespace must be a non-empty string/],
    [{ maxTaskRetries: -5 }, /maxTaskRetries must be/],
  ];
  for (const [options, message] of wrongActor)
    t.match(thrown(() => remote(A).options(options as never)).message, message);
  const a = remote(A).remote();
  t.match(
    thrown(() => a.m.options({ numCpus: 1 } as never)).message,
    /method A.m has no option "numCpus". Valid options: name, numReturns, maxTaskRetries/,
  );
  t.match(thrown(() => a.m.options({ retryErrors: () => true })).message, /belongs to @method/);
  t.match(thrown(() => f.options(3 as never)).message, /options must be an object, not 3/);
  t.match(
    thrown(() => pyFunction("m", "f", { retryErrors: [TypeError] }).remote()).message,
    /errors of a Python function cannot be told apart/,
  );
  t.match(
    thrown(() => method({ concurrencyGroup: 3 } as never)).message,
    /@method option concurrencyGroup must be a non-empty string/,
  );
  t.end();
});

t.test("options of resources hold work back", async (t) => {
  const f = remote(async (ms: number) => {
    await sleep(ms);
    return runtimeContext().taskName;
  });
  const log = join(t.testdir(), "log");
  const span = remote(async (path: string) => {
    const fs = await import("node:fs");
    fs.appendFileSync(path, "+");
    await new Promise((resolve) => setTimeout(resolve, 30));
    fs.appendFileSync(path, "-");
  });
  const deepest = () => {
    let depth = 0;
    let most = 0;
    for (const sign of readFileSync(log, "utf8")) {
      depth += sign === "+" ? 1 : -1;
      most = Math.max(most, depth);
    }
    return most;
  };
  for (const [options, limit] of [
    [{ resources: { alice: 1 }, numCpus: 0.1 }, 2],
    [{ numGpus: 0.5, numCpus: 0 }, 2],
    [{ memory: "2GiB", numCpus: 0 }, 1],
    [{ numCpus: 4 }, 1],
  ] as const) {
    appendFileSync(log, "");
    await get(Array.from({ length: 4 }, () => span.options(options).remote(log)));
    t.ok(deepest() <= limit, `${JSON.stringify(options)}: ${deepest()} <= ${limit}`);
    (await import("node:fs")).writeFileSync(log, "");
  }
  t.equal(await get(f.options({ name: "one" }).options({ numCpus: 0.5 }).remote(0)), "one");
  t.equal(await get(f.options({ name: "one" }).options({ name: "two" }).remote(0)), "two");
  t.same(await get(f.options({ name: "f" }).map([1, 1], { batch: 1 })), ["f", "f"]);
});

t.test("fractions add up exactly, in steps of a ten-thousandth", async (t) => {
  class Part {
    here(): number {
      return 1;
    }
  }
  const part = (alice: number) => remote(Part, { resources: { alice } }).remote();
  const parts = [...Array.from({ length: 3 }, () => part(0.6666)), part(0.0001), part(0.0001)];
  await get(parts.map((one) => one.here.remote()));
  t.equal((await availableResources()).alice ?? 0, 0, "2 are used up, none is over");
  const late = part(0.0001);
  const first = late.here.remote();
  t.same((await wait([first], { timeoutMs: 100 })).ready, []);
  await kill(parts[4] as object);
  t.equal(await get(first), 1);
  for (const one of [...parts.slice(0, 4), late]) await kill(one);
});

t.test("retries: classes, predicates, plans", async (t) => {
  class Flaky extends Error {}
  class Worse extends Flaky {}
  const count = (path: string) => (existsSync(path) ? readFileSync(path, "utf8").length : 0);
  const fails = remote(async (path: string, times: number, kind: string) => {
    const fs = await import("node:fs");
    fs.appendFileSync(path, "x");
    if (fs.readFileSync(path, "utf8").length <= times) {
      const error = kind === "worse" ? new Worse("worse") : new Error(kind);
      throw Object.assign(error, { code: kind });
    }
    return runtimeContext().attempt;
  });
  const dir = t.testdir();
  let n = 0;
  const run = (options: object, times: number, kind = "busy") => {
    const path = join(dir, String(++n));
    return { path, ref: fails.options(options).remote(path, times, kind) };
  };
  const ok = async (options: object, times: number, kind?: string) =>
    get(run(options, times, kind).ref);
  t.equal(await ok({ retryErrors: true, maxRetries: 2 }, 2), 2);
  t.equal(await ok({ retryErrors: true, maxRetries: -1 }, 5), 5);
  t.equal(await ok({ retryErrors: [Flaky], maxRetries: 2 }, 1, "worse"), 1, "a subclass counts");
  const wanted = "busy";
  const onBusy = (error: unknown) => (error as { code?: string }).code === wanted;
  t.equal(await ok({ retryErrors: onBusy, maxRetries: 3 }, 2), 2);
  t.equal(await ok({ retryErrors: async (e: unknown) => onBusy(e), maxRetries: 3 }, 1), 1);
  const other = run({ retryErrors: onBusy, maxRetries: 3 }, 2, "full");
  t.match((await rejection(get(other.ref))).message, /full/);
  t.equal(count(other.path), 1, "the predicate said no");
  const broken = run({ retryErrors: () => nothing.at(0), maxRetries: 3 }, 1);
  const nothing = null as never as number[];
  t.match((await rejection(get(broken.ref))).message, /busy/, "not the predicate's own error");
  const used = run({ retryErrors: true, maxRetries: 1 }, 5);
  t.match((await rejection(get(used.ref))).message, /busy/);
  t.equal(count(used.path), 2);
  const plan = { max: 3, backoff: "linear", initialMs: 20, jitter: 0.5 } as const;
  const before = Date.now();
  t.equal(await ok({ retry: plan }, 2), 2);
  t.ok(Date.now() - before >= 29, "it paused 10-20 and 20-40 ms");
  const none = run({ retry: { max: 0 } }, 1);
  t.match((await rejection(get(none.ref))).message, /busy/);
  t.equal(count(none.path), 1);
});

t.test("methods: retries, several returns, names, combined with @method", async (t) => {
  class Shaky {
    runs = 0;
    order: string[] = [];
    shake(times: number): number {
      this.runs++;
      if (this.runs <= times) throw new RangeError(`run ${this.runs}`);
      return this.runs;
    }
    declared(times: number): number {
      return this.shake(times);
    }
    two(): [number, string] {
      return [1, "b"];
    }
    name(): string | null {
      return runtimeContext().taskName;
    }
    note(x: string): string[] {
      this.order.push(x);
      return this.order;
    }
    fresh(): void {
      this.runs = 0;
    }
  }
  method({ maxTaskRetries: 3, retryErrors: [RangeError] })(Shaky.prototype.declared, {});
  method({ numReturns: 2 })(Shaky.prototype.two, {});
  const s = remote(Shaky).remote();
  t.equal(await get(s.declared.remote(2)), 3);
  await get(s.fresh.remote());
  t.match((await rejection(get(s.shake.remote(1)))).message, /run 1/, "no retry unless asked for");
  await get(s.fresh.remote());
  t.equal(await get(s.shake.options({ maxTaskRetries: 2, retryErrors: true }).remote(2)), 3);
  await get(s.fresh.remote());
  const typed = s.shake.options({ maxTaskRetries: 2, retryErrors: [TypeError] }).remote(1);
  t.match((await rejection(get(typed))).message, /run 1/);
  await get(s.fresh.remote());
  t.equal(
    await get(s.shake.options({ maxTaskRetries: 2, retryErrors: [RangeError] }).remote(1)),
    2,
  );
  await get(s.fresh.remote());
  const retried = s.declared.remote(1);
  const later = s.note.remote("later");
  t.equal(await get(retried), 2);
  t.same(await get(later), ["later"]);
  const [a, b] = s.two.remote() as unknown as [ObjectRef<number>, ObjectRef<string>];
  t.same(await get([a, b]), [1, "b"]);
  t.same(await get(s.two.options({ numReturns: 1 }).remote()), [1, "b"], "the call's option wins");
  t.equal(await get(s.name.remote()), "Shaky.name");
  t.equal(await get(s.name.options({ name: "mine" }).remote()), "mine");
  const late = remote(Shaky).options({ maxTaskRetries: 1 }).remote();
  t.equal(await get(late.shake.options({ retryErrors: true }).remote(1)), 2, "the class's limit");
});

t.test("maxCalls gives a fresh worker after so many runs", async (t) => {
  const where = remote(() => process.pid);
  const once = where.options({ maxCalls: 1 });
  const pids = await get(Array.from({ length: 6 }, () => once.remote()));
  t.equal(new Set(pids).size, 6);
  const twice = where.options({ maxCalls: 2 });
  const seen = new Map<number, number>();
  for (const pid of await get(Array.from({ length: 8 }, () => twice.remote())))
    seen.set(pid, (seen.get(pid) ?? 0) + 1);
  t.ok([...seen.values()].every((times) => times <= 2));
});

t.test("concurrency groups have limits of their own", async (t) => {
  class Grouped {
    now: Record<string, number> = {};
    most: Record<string, number> = {};
    async hold(group: string, ms: number): Promise<void> {
      this.now[group] = (this.now[group] ?? 0) + 1;
      this.most[group] = Math.max(this.most[group] ?? 0, this.now[group]);
      await new Promise((resolve) => setTimeout(resolve, ms));
      this.now[group]--;
    }
    io(ms: number): Promise<void> {
      return this.hold("io", ms);
    }
    compute(ms: number): Promise<void> {
      return this.hold("compute", ms);
    }
    plain(ms: number): Promise<void> {
      return this.hold("plain", ms);
    }
    seen(): Record<string, number> {
      return this.most;
    }
  }
  method({ concurrencyGroup: "io" })(Grouped.prototype.io, {});
  method({ concurrencyGroup: "compute" })(Grouped.prototype.compute, {});
  t.match(
    thrown(() => remote(Grouped).remote()).message,
    /Grouped.io asks for the concurrency group "io".*it has: none/,
  );
  const RemoteGrouped = remote(Grouped, { concurrencyGroups: { io: 2, compute: 1 } });
  const g = RemoteGrouped.remote();
  const all = (f: { remote(ms: number): ObjectRef<void> }, n: number) =>
    Array.from({ length: n }, () => f.remote(30));
  await get([
    ...all(g.io, 5),
    ...all(g.compute, 3),
    ...all(g.plain, 2),
    ...all(g.plain.options({ concurrencyGroup: "io" }), 1),
  ]);
  t.same(await get(g.seen.remote()), { io: 2, compute: 1, plain: 2 });
  const stuck = g.io.remote(300);
  t.equal(
    (await wait([g.plain.remote(1), stuck])).ready.length,
    1,
    "groups do not wait for each other",
  );
  t.match(
    (await rejection(get(g.plain.options({ concurrencyGroup: "gpu" }).remote(1)))).message,
    /concurrency group "gpu".*it has: io, compute/,
  );
});

t.test("maxPendingCalls: refused, and room to wait for", async (t) => {
  class Slow {
    async wait(ms: number): Promise<number> {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return ms;
    }
  }
  const s = remote(Slow).options({ maxPendingCalls: 2 }).remote();
  await s.ready();
  const first = [s.wait.remote(60), s.wait.remote(1)];
  const error = thrown(() => s.wait.remote(1));
  t.ok(error instanceof PendingCallsLimitExceeded);
  t.equal(error.name, "PendingCallsLimitExceeded");
  t.match(error.message, /Slow: 2 calls are waiting already/);
  t.equal((await rejection(s.wait.ready({ timeoutMs: 5 }))).name, "TimeoutError");
  await s.wait.ready();
  const third = s.wait.remote(3);
  t.same(await get([...first, third]), [60, 1, 3]);
  const viaTask = remote(async (slow: typeof s) => {
    slow.wait.remote(200);
    slow.wait.remote(1);
    try {
      slow.wait.remote(1);
      return "no limit";
    } catch (thrownThere) {
      return (thrownThere as Error).name;
    }
  });
  t.equal(await get(viaTask.remote(s)), "PendingCallsLimitExceeded", "a handle carries its limit");
});

t.test("idempotencyKey runs a call once", async (t) => {
  const path = join(t.testdir(), "ran");
  const append = remote(async (file: string, x: number) => {
    (await import("node:fs")).appendFileSync(file, "x");
    return x;
  });
  const once = append.options({ idempotencyKey: "job-1" });
  const first = once.remote(path, 1);
  const second = once.remote(path, 2);
  t.same(await get([first, second]), [1, 1]);
  first[Symbol.dispose]();
  t.equal(await get(once.remote(path, 3)), 1);
  t.equal(await get(append.options({ idempotencyKey: "job-2" }).remote(path, 4)), 4);
  t.equal(readFileSync(path, "utf8"), "xx");
  // In another process too, whether it was sent the function or has one of the same name and code.
  const asks = remote(async (file: string) => get(once.remote(file, 5)));
  t.equal(await get(asks.remote(path)), 1);
  const races = remote(async (file: string, x: number) => {
    const own = once.options({ idempotencyKey: "job-3" });
    return get(own.remote(file, x));
  });
  const won = await get([races.remote(path, 6), races.remote(path, 7), races.remote(path, 8)]);
  t.equal(new Set(won).size, 1);
  t.equal(readFileSync(path, "utf8"), "xxx");
});
