// SPDX-License-Identifier: Apache-2.0
// Goal: a cancel reaches queued and running calls, their children in both languages, streams and actor calls, with its
// reason; and nothing is lost by it.
// Method: real workers of one embedded runtime. What ran is seen by marks that calls make in an actor.

import {
  type ActorHandle,
  cancel,
  currentSignal,
  get,
  remote,
  TaskCancelledError,
  wait,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime();

class Marks {
  readonly marks: string[] = [];
  add(mark: string): void {
    this.marks.push(mark);
  }
  all(): string[] {
    return this.marks;
  }
}
const marks = remote(Marks).remote();
const marked = async (mark: string) =>
  until(async () => (await get(marks.all.remote())).includes(mark));

/** Runs until its signal fires; marks its start and the reason of its end. */
const watcher = remote(async (m: ActorHandle<Marks>, name: string) => {
  await get(m.add.remote(`${name} runs`));
  const signal = currentSignal();
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  const { reason } = signal;
  await get(m.add.remote(`${name} ends: ${reason instanceof Error ? reason.message : reason}`));
  throw reason;
});

t.test("the reason reaches the body and the caller", async (t) => {
  const ref = watcher.remote(marks, "a");
  await marked("a runs");
  await cancel(ref, { reason: new RangeError("not needed") });
  const error = await rejection(get(ref));
  t.ok(error instanceof TaskCancelledError);
  t.match(error, { name: "AbortError", code: "TASK_CANCELLED" });
  t.match(error.message, /was cancelled while it ran/);
  t.match(error.cause, { name: "RangeError", message: "not needed" });
  t.ok((await get(marks.all.remote())).includes("a ends: not needed"));
  await cancel(ref);
  t.equal((await rejection(get(ref))).name, "AbortError", "a second cancel changes nothing");
  const stop = new AbortController();
  const bySignal = watcher.options({ signal: stop.signal }).remote(marks, "b");
  await marked("b runs");
  stop.abort("enough");
  t.equal((await rejection(get(bySignal))).cause, "enough");
  t.ok((await get(marks.all.remote())).includes("b ends: enough"));
  const late = watcher.options({ signal: stop.signal }).remote(marks, "c");
  const refused = await rejection(get(late));
  t.match([refused.name, refused.cause], ["AbortError", "enough"], "the signal had fired before");
  t.notOk((await get(marks.all.remote())).includes("c runs"));
});

t.test("a body that knows nothing of signals is given up; its worker is replaced", async (t) => {
  const sleeps = remote(async (m: ActorHandle<Marks>, name: string) => {
    await get(m.add.remote(`${name} sleeps`));
    await new Promise((resolve) => setTimeout(resolve, 60_000));
    return 1;
  });
  const ref = sleeps.remote(marks, "d");
  await marked("d sleeps");
  await cancel(ref);
  t.equal((await rejection(get(ref))).name, "AbortError");
  t.equal(await get(remote(() => "next").remote()), "next");
  const done = remote(() => 5).remote();
  t.equal(await get(done), 5);
  await cancel(done);
  t.equal(await get(done), 5, "too late: the result stays");
});

t.test("children are cancelled, also forgotten ones; not when recursive is false", async (t) => {
  const parent = remote(async (m: ActorHandle<Marks>, w: typeof watcher, name: string) => {
    currentSignal(); // it looks after itself: it is not given up while its children end
    const kept = w.remote(m, `${name}.kept`);
    w.remote(m, `${name}.dropped`)[Symbol.dispose]();
    await get(kept);
  });
  const ref = parent.remote(marks, watcher, "e");
  await Promise.all([marked("e.kept runs"), marked("e.dropped runs")]);
  await cancel(ref, { reason: "all of you" });
  t.equal((await rejection(get(ref))).name, "AbortError");
  await Promise.all([marked("e.kept ends: all of you"), marked("e.dropped ends: all of you")]);
  const leave = remote(async (m: ActorHandle<Marks>, w: typeof watcher) => {
    const child = w.options({ numCpus: 0 }).remote(m, "f.child"); // it stays
    currentSignal();
    await get(m.add.remote("f runs"));
    await Promise.race([
      get(child),
      new Promise((_resolve, reject) =>
        currentSignal().addEventListener("abort", () => reject(currentSignal().reason)),
      ),
    ]);
    return child;
  });
  const lone = leave.remote(marks, watcher);
  await Promise.all([marked("f runs"), marked("f.child runs")]);
  await cancel(lone, { recursive: false });
  t.equal((await rejection(get(lone))).name, "AbortError");
  t.notOk((await get(marks.all.remote())).some((mark) => mark.startsWith("f.child ends")));
});

t.test(
  "force ends the process of a body that blocks; with graceMs the body is asked first",
  async (t) => {
    const blocks = remote(async (m: ActorHandle<Marks>) => {
      await get(m.add.remote("g runs"));
      for (;;);
    });
    const ref = blocks.remote(marks);
    await marked("g runs");
    await cancel(ref, { force: true });
    t.equal((await rejection(get(ref))).name, "AbortError");
    const asked = watcher.remote(marks, "asked");
    await marked("asked runs");
    await cancel(asked, { force: true, graceMs: 20_000, reason: "kindly" });
    t.equal((await rejection(get(asked))).cause, "kindly");
    t.ok((await get(marks.all.remote())).includes("asked ends: kindly"));
    const late = blocks.remote(marks);
    await until(
      async () => (await get(marks.all.remote())).filter((m) => m === "g runs").length === 2,
    );
    await cancel(late, { force: true, graceMs: 10 });
    t.equal((await rejection(get(late))).name, "AbortError");
  },
);

t.test("a call of an actor's method is not cancelled by force", async (t) => {
  const call = marks.all.remote();
  const error = await rejection(cancel(call, { force: true }));
  t.equal(error.name, "InvalidOptionError");
  t.match(error.message, /method cannot be forced. Cancel it without force, or kill/);
  t.ok(Array.isArray(await get(call)));
});

t.test("queued calls and calls that wait for arguments never run", async (t) => {
  const holds = Array.from({ length: 4 }, (_, i) => watcher.remote(marks, `h${i}`));
  await Promise.all(holds.map((_, i) => marked(`h${i} runs`)));
  const queued = watcher.remote(marks, "queued");
  const after = remote((x: unknown) => x).remote(queued);
  const stays = remote(() => "stays").remote();
  await cancel(after, { reason: new Error("why") });
  const error = await rejection(get(after));
  t.match([error.name, (error.cause as Error).message], ["AbortError", "why"]);
  await cancel(queued);
  t.equal((await rejection(get(queued))).name, "AbortError");
  for (const ref of holds) await cancel(ref);
  await wait(holds, { numReturns: 4 });
  t.equal(await get(stays), "stays");
  t.notOk((await get(marks.all.remote())).includes("queued runs"));
});

t.test("calls of actors: queued, running, and the actor goes on", async (t) => {
  class Busy {
    done: string[] = [];
    async work(m: ActorHandle<Marks>, name: string): Promise<string> {
      await get(m.add.remote(`${name} works`));
      const signal = currentSignal();
      await new Promise<void>((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        if (name === "short") resolve();
      });
      this.done.push(name);
      return name;
    }
    async deaf(m: ActorHandle<Marks>): Promise<void> {
      await get(m.add.remote("deaf works"));
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }
    seen(): string[] {
      return this.done;
    }
  }
  const busy = remote(Busy).remote();
  const running = busy.work.remote(marks, "long");
  const waiting = busy.work.remote(marks, "never");
  const short = busy.work.remote(marks, "short");
  await marked("long works");
  await cancel(waiting);
  t.equal((await rejection(get(waiting))).name, "AbortError");
  await cancel(running, { reason: "stop" });
  t.equal((await rejection(get(running))).cause, "stop");
  t.equal(await get(short), "short");
  t.same(await get(busy.seen.remote()), ["short"]);
  const deaf = busy.deaf.remote(marks);
  await marked("deaf works");
  await cancel(deaf);
  t.equal((await rejection(get(deaf))).name, "AbortError");
  t.same(await get(busy.seen.remote()), ["short"], "the actor lives on");
  t.match(
    thrown(() => void busy.work.options({ signal: 1 as never })).message,
    /signal must be an AbortSignal/,
  );
});

t.test("streams: break, cancel, and a producer that waits for room", async (t) => {
  const source = remote(async function* (m: ActorHandle<Marks>, name: string) {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      await get(m.add.remote(`${name} closed`));
    }
  });
  for await (const value of source.remote(marks, "i").values()) if (value === 3) break;
  await marked("i closed");
  const held = source.options({ stream: { highWaterMark: 1 } }).remote(marks, "j");
  const values = held.values()[Symbol.asyncIterator]();
  t.equal((await values.next()).value, 0);
  await cancel(held);
  await marked("j closed");
  t.equal((await rejection(get(held.completed()))).name, "AbortError");
  {
    await using unread = source.remote(marks, "k");
    await unread[Symbol.asyncIterator]().next(); // it runs: one that never began has nothing to close
  }
  await marked("k closed");
});
