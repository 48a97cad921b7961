// SPDX-License-Identifier: Apache-2.0
// Goal: a stream given to a task or an actor is read there, in order, by one reader of either language; a slow reader holds
// the producer back, one that stops ends it, and the producer's error reaches the reader.
// Method: the producer marks in a file how far it is and that it was ended.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { get, type ObjectRefStream, pyActor, pyFunction, remote } from "polyray";
import t from "tap";
import { rejection, scratchFolder, startRuntime, until, within } from "./support.ts";

await startRuntime({ numCpus: 4 });

const count = remote(
  async function* (n: number, marks: string) {
    try {
      for (let i = 0; i < n; i++) {
        if (marks !== "") appendFileSync(marks, ".");
        yield i;
      }
    } finally {
      if (marks !== "") appendFileSync(marks, "!");
    }
  },
  { stream: { highWaterMark: 2 } },
);
const sum = remote(async (stream: ObjectRefStream<number>) => {
  let all = 0;
  for await (const value of stream.values()) all += value;
  return all;
});
const sumInPython = pyFunction<[unknown], number>("mixed_side", "sums_stream");
const marksOf = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

t.test("a task reads a stream of another, over the languages too", async (t) => {
  t.equal(await within(get(sum.remote(count.remote(100, "") as never)), "TypeScript"), 4950);
  t.equal(await within(get(sumInPython.remote(count.remote(100, ""))), "to Python"), 4950);
  const fromPython = pyFunction<[number], number>("mixed_side", "counts_up").options({
    stream: true,
  });
  const python = fromPython.remote(100) as never;
  t.equal(await within(get(sum.remote(python)), "from Python"), 4950);
});

t.test("an actor keeps a stream and reads on; the producer waits for it", async (t) => {
  const marks = join(scratchFolder(), "marks");
  class Reader {
    #items: AsyncIterator<number> | null = null;
    take(stream: ObjectRefStream<number>): void {
      this.#items = stream.values()[Symbol.asyncIterator]();
    }
    async next(): Promise<number | undefined> {
      const { value, done } = (await this.#items?.next()) ?? { done: true, value: undefined };
      return done === true ? undefined : value;
    }
    async stop(): Promise<void> {
      await this.#items?.return?.();
    }
  }
  const reader = remote(Reader).remote();
  await within(get(reader.take.remote(count.remote(1000, marks) as never)), "taken");
  t.same(await within(get([reader.next.remote(), reader.next.remote()]), "two items"), [0, 1]);
  const ahead = marksOf(marks).length;
  t.ok(ahead < 40, `the producer is ${ahead} items far`);
  await within(get(reader.stop.remote()), "stop");
  await until(() => marksOf(marks).endsWith("!"), "the producer was ended");
  t.ok(marksOf(marks).length < 60);
});

t.test("a reader that stops early ends the producer", async (t) => {
  const first = remote(async (stream: ObjectRefStream<number>) => {
    for await (const value of stream.values()) return value;
    return -1;
  });
  const readers = {
    TypeScript: (stream: unknown) => first.remote(stream as never),
    Python: (stream: unknown) =>
      pyFunction<[unknown], number>("mixed_side", "first_of_stream").remote(stream),
    "a task that never reads": (stream: unknown) => remote((_: unknown) => 0).remote(stream),
  };
  for (const [name, read] of Object.entries(readers)) {
    const marks = join(scratchFolder(), "marks");
    t.equal(await within(get(read(count.remote(1000, marks))), name), 0, name);
    await until(() => marksOf(marks).endsWith("!"), `the producer was ended: ${name}`);
    t.ok(marksOf(marks).length < 60, name);
  }
});

t.test("the producer's error comes after its items; a stream has one reader", async (t) => {
  const breaks = remote(async function* () {
    yield 1;
    yield 2;
    throw new RangeError("no three");
  });
  const collect = remote(async (stream: ObjectRefStream<number>) => {
    const seen: unknown[] = [];
    try {
      for await (const value of stream.values()) seen.push(value);
    } catch (error) {
      seen.push((error as Error).message);
    }
    return seen;
  });
  const seen = await within(get(collect.remote(breaks.remote() as never)), "all");
  t.same(seen.slice(0, 2), [1, 2]);
  t.match(seen[2], /RangeError: no three/);
  const stream = count.remote(5, "");
  t.equal(await within(get(sum.remote(stream as never)), "the sum"), 10);
  const again = await rejection((async () => get(sum.remote(stream as never)))());
  t.match(again.message, /one reader: this one was sent to another process already/);
  const here = await rejection(
    (async () => {
      for await (const _ of stream) t.fail("an item came");
    })(),
  );
  t.match(here.message, /one reader/);
});

t.test(
  "a call is given several streams: each ends with it, also when it could not be sent",
  async (t) => {
    const idle = remote((..._: unknown[]) => 0);
    const marks = Array.from({ length: 3 }, () => join(scratchFolder(), "marks"));
    const streams = marks.map((file) => count.remote(1000, file));
    t.equal(await within(get(idle.remote(...(streams as never[]))), "the reader"), 0);
    for (const [i, file] of marks.entries())
      await until(() => marksOf(file).endsWith("!"), `producer ${i} was ended`);
    const unsent = join(scratchFolder(), "marks");
    const error = await rejection(
      (async () => idle.remote(count.remote(1000, unsent) as never, Symbol("x") as never))(),
    );
    t.equal(error.code, "UNSERIALIZABLE");
    await until(
      () => marksOf(unsent).endsWith("!"),
      "the producer of a call that was not sent ended",
    );
  },
);

t.test("a constructor that fails, or never runs, ends the streams that it was given", async (t) => {
  class Keeps {
    constructor(fails: boolean, _stream: unknown) {
      if (fails) throw new RangeError("not today");
    }
    here(): boolean {
      return true;
    }
  }
  const Actor = remote(Keeps);
  const Python = pyActor<object, [boolean, unknown]>("mixed_side", "KeepsStream");
  const name = "keeps";
  const keeper = Actor.options({ name }).remote(false, count.remote(1000, "") as never);
  t.ok(await within(get(keeper.here.remote()), "an actor that keeps a stream"));
  for (const [how, make] of Object.entries({
    TypeScript: (stream: unknown) => Actor.remote(true, stream),
    Python: (stream: unknown) => Python.remote(true, stream),
    "a name": (stream: unknown) => Actor.options({ name: "other" }).remote(true, stream),
    "a name that is taken": (stream: unknown) => Actor.options({ name }).remote(true, stream),
    "an actor that exists": (stream: unknown) =>
      Actor.options({ name, getIfExists: true }).remote(true, stream),
    "no place": (stream: unknown) => Actor.options({ numCpus: 99 }).remote(true, stream),
  })) {
    const marks = join(scratchFolder(), "marks");
    const stream = count.remote(1000, marks);
    let handle: unknown;
    try {
      handle = make(stream);
    } catch (error) {
      t.equal((error as Error).name, "ActorAlreadyExistsError", how);
    }
    await until(() => marksOf(marks).endsWith("!"), `the producer was ended: ${how}`);
    t.ok(marksOf(marks).length < 60, `${how} ${typeof handle}`);
  }
});
