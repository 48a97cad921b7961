// SPDX-License-Identifier: Apache-2.0
// Goal: get and wait in all their forms, streams among refs, getSync's rules, failures that nobody asked for, errors as
// instances of their classes, actors that know and clean up themselves.
// Method: real workers of one embedded runtime.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { runInNewContext } from "node:vm";
import {
  type ActorHandle,
  cancel,
  get,
  getSync,
  kill,
  type ObjectRef,
  put,
  remote,
  self,
  TaskError,
  wait,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime();

const later = remote(async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return ms;
});

t.test("get: tuples, records, duplicates, thousands, polls, signals, races", async (t) => {
  const a = put(1);
  const b = later.remote(5);
  t.same(await get([a, b, a, b]), [1, 5, 1, 5]);
  t.same(await get({ a, b }), { a: 1, b: 5 });
  t.same(await get([]), []);
  t.same(await get({}), {});
  t.same(await get(runInNewContext("({ a })", { a }) as { a: typeof a }), { a: 1 });
  const many = Array.from({ length: 3000 }, (_, i) => put(i));
  t.equal((await get(many)).at(-1), 2999);
  const slow = later.remote(60_000);
  t.equal((await rejection(get(slow, { timeoutMs: 0 }))).name, "TimeoutError");
  t.equal((await rejection(get([a, slow], { timeoutMs: 1 }))).name, "TimeoutError");
  t.equal((await rejection(get({ a, slow }, { timeoutMs: 1 }))).name, "TimeoutError");
  t.equal(await get(a, { timeoutMs: 0 }), 1, "what is there is given");
  t.equal((await rejection(get(slow, { signal: AbortSignal.abort("off") }))) as unknown, "off");
  t.equal(await Promise.race([get(slow), get(b)]), 5);
  t.equal(await b.toPromise(), 5);
  t.match((await rejection(get(slow, { timeoutMs: -1 }))).message, /timeoutMs must be/);
  t.same((await wait([slow], { timeoutMs: 5 })).notReady, [slow]);
  t.match((await rejection(wait([a, a]))).message, /each ref once/);
  t.same(await wait([]), { ready: [], notReady: [] });
  const aborted = rejection(wait([slow], { signal: AbortSignal.timeout(5) }));
  t.equal((await aborted).name, "TimeoutError");
  await cancel(slow);
});

t.test("wait takes streams: ready when an item or the end is there", async (t) => {
  const items = remote(async function* (n: number, ms: number) {
    for (let i = 0; i < n; i++) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      yield i;
    }
  });
  const quick = items.remote(2, 1);
  const never = items.remote(1, 60_000);
  const slow = later.remote(60_000);
  const first = await wait([never, slow, quick]);
  t.ok(first.ready.length === 1 && first.ready[0] === quick);
  t.ok(first.notReady[0] === never && first.notReady[1] === slow);
  const values: number[] = [];
  for await (const value of quick.values()) values.push(value);
  t.same(values, [0, 1]);
  t.ok((await wait([quick, slow])).ready[0] === quick, "ended");
  t.equal((await wait([never, slow], { timeoutMs: 5 })).ready.length, 0);
  const done = later.remote(1);
  t.ok((await wait([never, done])).ready[0] === done);
  await never[Symbol.asyncDispose]();
  await cancel(slow);
  const web = ReadableStream.from(items.remote(3, 0).values());
  const seen: number[] = [];
  for await (const value of web) seen.push(value as number);
  for await (const value of Readable.from(items.remote(2, 0).values())) seen.push(value as number);
  t.same(seen, [0, 1, 2, 0, 1]);
});

t.test("a consumer of a stream inside a task gives its CPU to the producer", async (t) => {
  const count = remote(async function* (n: number) {
    for (let i = 0; i < n; i++) yield i;
  }).options({ numCpus: 4 });
  const sum = remote(async (source: typeof count) => {
    let total = 0;
    for await (const value of source.remote(5).values()) total += value;
    return total;
  });
  t.equal(await get(sum.remote(count)), 10);
});

t.test("getSync works in tasks, not in actors", async (t) => {
  t.equal(getSync(put(3)), 3);
  const inTask = remote((box: { ref: ObjectRef<number> }) => getSync(box.ref));
  t.equal(await get(inTask.remote({ ref: later.remote(2) })), 2);
  class Blocking {
    now(box: { ref: ObjectRef<number> }): number {
      return getSync(box.ref);
    }
  }
  const error = await rejection(
    get(
      remote(Blocking)
        .remote()
        .now.remote({ ref: put(1) }),
    ),
  );
  t.match(error.message, /getSync would stop every method of this actor; use await get/);
});

t.test("a failed call whose ref nobody read is told once", async (t) => {
  const lines: string[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = ((chunk: string | Uint8Array, ...rest: never[]) => {
    lines.push(String(chunk));
    return write(chunk, ...rest);
  }) as typeof process.stderr.write;
  t.teardown(() => {
    process.stderr.write = write;
  });
  const v8 = await import("node:v8");
  v8.setFlagsFromString("--expose-gc");
  const collect = (await import("node:vm")).runInNewContext("gc") as () => void;
  const fails = remote((text: string): never => {
    throw new Error(text);
  });
  await rejection(get(fails.remote("was read")));
  await (async () => {
    const ref = fails.remote("was forgotten");
    await wait([ref]);
  })();
  const told = () => lines.filter((line) => line.includes("nobody asked"));
  await until(() => {
    collect();
    return told().length > 0;
  });
  t.match(told(), [/a call failed and nobody asked for its result .*was forgotten/]);
});

t.test("errors are instances of the classes that went along", async (t) => {
  class OutOfStock extends RangeError {
    constructor(
      readonly item: string,
      options?: ErrorOptions,
    ) {
      super(`no ${item} left`, options);
    }
    get hint(): string {
      return `order ${this.item}`;
    }
  }
  class Nested extends OutOfStock {}
  const buys = remote((item: string): never => {
    const cause = new TypeError("inner", { cause: { deep: [1, new Map([["a", 1]])] } });
    throw item === "none" ? new Nested(item, { cause }) : new OutOfStock(item);
  });
  const error = await rejection(get(buys.remote("tea")));
  t.ok(error instanceof TaskError);
  const cause = error.cause as OutOfStock;
  t.ok(cause instanceof OutOfStock && cause instanceof RangeError && !(cause instanceof Nested));
  t.equal(cause.hint, "order tea");
  const nested = (await rejection(get(buys.remote("none")))).cause as Nested;
  t.ok(nested instanceof Nested);
  t.match(nested.cause, { name: "TypeError", message: "inner" });
  t.same((nested.cause as Error).cause, { deep: [1, new Map([["a", 1]])] });
  const chained = remote((x: never) => x);
  const through = await rejection(get(chained.remote(buys.remote("tea"))));
  t.ok(through.cause instanceof OutOfStock, "through a chain");
  const others = remote((kind: string): never => {
    if (kind === "aggregate")
      throw new AggregateError([new TypeError("a"), new OutOfStock("b")], "all");
    if (kind === "dom") throw new DOMException("gone", "NotFoundError");
    if (kind === "frozen") throw Object.freeze({ code: 7 });
    throw Object.assign(new SyntaxError("bad"), { line: 3, when: new Date(0) });
  });
  const aggregate = (await rejection(get(others.remote("aggregate")))).cause as AggregateError;
  t.ok(aggregate instanceof AggregateError && aggregate.errors[1] instanceof OutOfStock);
  const dom = (await rejection(get(others.remote("dom")))).cause;
  t.ok(dom instanceof DOMException);
  t.match(dom, { name: "NotFoundError", message: "gone" });
  t.same((await rejection(get(others.remote("frozen")))).cause, { code: 7 });
  const own = (await rejection(get(others.remote("own")))).cause;
  t.ok(own instanceof SyntaxError);
  t.match(own, { line: 3, when: new Date(0) });
});

t.test("actors: self, clean-up at a graceful end, ready, handles that others keep", async (t) => {
  const file = join(t.testdir(), "ended");
  class Node {
    value = 0;
    constructor(readonly path: string) {}
    me(): ActorHandle<Node> {
      return self<Node>();
    }
    add(): number {
      return ++this.value;
    }
    async viaSelf(): Promise<string> {
      const me = self<Node>();
      void me.add.remote();
      return "sent";
    }
    async [Symbol.asyncDispose](): Promise<void> {
      (await import("node:fs")).appendFileSync(this.path, `ended at ${this.value}`);
    }
  }
  const node = remote(Node).remote(file);
  await node.ready();
  const same = await get(node.me.remote());
  t.equal(await get(same.add.remote()), 1);
  t.equal(await get(node.viaSelf.remote()), "sent");
  await until(async () => (await get(node.add.remote())) >= 3);
  await kill(node);
  const ends = remote(Node).remote(file);
  t.equal(await get(ends.add.remote()), 1);
  await ends[Symbol.asyncDispose]();
  await until(() => existsSync(file) && readFileSync(file, "utf8") !== "");
  t.equal(readFileSync(file, "utf8"), "ended at 1");
  t.match(thrown(() => self()).message, /works inside of an actor's methods/);
  class Broken {
    constructor() {
      throw new TypeError("not today");
    }
  }
  t.match((await rejection(remote(Broken).remote().ready())).message, /not today/);
});
