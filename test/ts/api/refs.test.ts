// SPDX-License-Identifier: Apache-2.0
// Goal: several refs of one object live and end apart; refs of a big container work although they are made lazily; wait
// answers the same however often it is asked.
// Method: one runtime, real tasks.

import {
  type ActorHandle,
  get,
  init,
  type ObjectRef,
  put,
  Queue,
  refScope,
  remote,
  shutdown,
  wait,
} from "polyray";
import t from "tap";

await init({ numCpus: 2, objectStoreMemory: 64 * 2 ** 20 });
t.teardown(() => shutdown());

const later = remote(async (value: number, ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return value;
});

t.test("dropping one ref of a pending object leaves a get of another alone", async (t) => {
  const ref = later.remote(5, 150);
  const [second] = (await get(put([ref]))) as [ObjectRef<number>];
  t.not(second, ref);
  const value = get(ref);
  second[Symbol.dispose]();
  t.equal(await value, 5);
});

t.test(
  "refs of a big container: ids, values, wait, passing on, after the container went",
  async (t) => {
    const own = Array.from({ length: 100 }, (_, i) => put(i));
    const container = put(own);
    const refs = (await get(container)) as ObjectRef<number>[];
    t.same(
      refs.map((ref) => ref.id),
      own.map((ref) => ref.id),
    );
    container[Symbol.dispose]();
    for (const ref of own) ref[Symbol.dispose]();
    t.same(await get(refs.slice(0, 3)), [0, 1, 2]);
    const { ready, notReady } = await wait(refs, { numReturns: 40 });
    t.equal(ready.length, 40);
    t.equal(notReady.length, 60);
    const sum = remote((...all: number[]) => all.reduce((a, b) => a + b, 0));
    t.equal(await get(sum.remote(...refs)), 4950);
    const again = (await get(put(refs.slice(90)))) as ObjectRef<number>[];
    t.same(await get(again), [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
  },
);

t.test("wait: a list that shrinks, equal lists at once, time limits, released refs", async (t) => {
  let left: ObjectRef<number>[] = Array.from({ length: 30 }, (_, i) => later.remote(i, i % 3));
  const other = wait(left, { numReturns: 30 });
  const seen: number[] = [];
  while (left.length > 0) {
    const { ready, notReady } = await wait(left);
    t.equal(ready.length, 1);
    t.equal(ready.length + notReady.length, left.length);
    seen.push(await get(ready[0] as ObjectRef<number>));
    left = notReady;
  }
  t.same(
    seen.sort((a, b) => a - b),
    Array.from({ length: 30 }, (_, i) => i),
  );
  t.equal((await other).ready.length, 30);
  const slow = later.remote(1, 400);
  const fast = put(2);
  const polled = await wait([slow, fast], { numReturns: 2, timeoutMs: 0 });
  t.same([polled.ready, polled.notReady], [[fast], [slow]]);
  const both = await Promise.all([wait([slow, fast], { numReturns: 2 }), wait([slow])]);
  t.same([both[0].ready.length, both[1].ready.length], [2, 1]);
  fast[Symbol.dispose]();
  await t.rejects(wait([slow, fast]), { code: "OBJECT_FREED" });
  await t.rejects(wait([slow, slow]), { code: "INVALID_ARGUMENT" });
});

t.test("wait on a thousand refs, again and again, until all are ready", async (t) => {
  let left = Array.from({ length: 1000 }, (_, i) => later.remote(i, 0));
  const all = left;
  const seen: number[] = [];
  for (let step = 1; left.length > 0; step = (step % 7) + 1) {
    const numReturns = Math.min(step, left.length);
    const { ready, notReady } = await wait(left, { numReturns });
    t.equal(ready.length, numReturns);
    seen.push(...(await get(ready)));
    const rest = new Set(notReady);
    t.same(
      notReady,
      left.filter((ref) => rest.has(ref)),
      "in the order of the list",
    );
    left = notReady;
  }
  t.same(
    seen.sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  const again = await wait(all, { numReturns: 1000, timeoutMs: 0 });
  t.same([again.ready.length, again.notReady.length], [1000, 0]);
});

class Cell {
  readonly #value: number;
  constructor(value: number) {
    this.#value = value;
  }
  read(): number {
    return this.#value;
  }
}

t.test("a long list: values in order, refs twice and far apart, done and pending", async (t) => {
  const first = later.remote(-1, 300);
  const settled = put(-2);
  const refs: ObjectRef<number>[] = [first, settled];
  for (let i = 0; i < 9_000; i++) refs.push(i % 3 === 0 ? put(i) : later.remote(i, 0));
  refs.push(first, settled, refs[2] as ObjectRef<number>);
  const asked = [...refs];
  const values = get(asked);
  asked.length = 0; // the list is the program's: what was asked for stays asked for
  const numbers = Array.from({ length: 9_000 }, (_, i) => i);
  t.strictSame(await values, [-1, -2, ...numbers, -1, -2, 0]);
  t.strictSame(await get(refs), [-1, -2, ...numbers, -1, -2, 0], "again, all there");
});

t.test("methods whose names are the bytes of others", async (t) => {
  class Names {
    "\u00e9"(): string {
      return "one letter";
    }
    "\u00c3\u00a9"(): string {
      return "its two bytes";
    }
  }
  const names = remote(Names).remote();
  for (let i = 0; i < 3; i++) {
    t.equal(await get(names["\u00c3\u00a9"].remote()), "its two bytes");
    t.equal(await get(names["\u00e9"].remote()), "one letter");
  }
});

t.test("a scope gives up what was made in it, except what its result holds", async (t) => {
  const RemoteCell = remote(Cell);
  const made: { ref?: ObjectRef<number>; handle?: ActorHandle<Cell> } = {};
  const kept = await refScope(async (scope) => {
    made.ref = put(1);
    made.handle = RemoteCell.remote(1);
    await get(made.handle.read.remote());
    const queue = new Queue<number>();
    await queue.put(7);
    return { handle: RemoteCell.remote(2), refs: new Map([["three", put(3)]]), queue };
  });
  await t.rejects(get(made.ref as ObjectRef<number>), { code: "OBJECT_FREED" });
  t.throws(() => (made.handle as ActorHandle<Cell>).read.remote(), { code: "OBJECT_FREED" });
  t.equal(await get(kept.handle.read.remote()), 2);
  t.equal(await get(kept.refs.get("three") as ObjectRef<number>), 3);
  t.equal(await kept.queue.get(), 7);
  const { five } = refScope((scope) => ({ five: put(5), six: scope.keep([put(6)]).length }));
  t.equal(await get(five), 5, "without awaits too");
});

t.test("a scope keeps what a big or an awkward result holds", async (t) => {
  const many = refScope(() => Array.from({ length: 150_000 }, (_, i) => put(i)));
  t.equal(await get(many[0] as ObjectRef<number>), 0, "the first of many");
  t.equal(await get(many.at(-1) as ObjectRef<number>), 149_999, "the last of many");
  const deep = refScope(() => ({
    seven: put(7),
    rest: Array.from({ length: 150_000 }, () => ({})),
  }));
  t.equal(await get(deep.seven), 7, "besides many objects");
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const made: ObjectRef<number>[] = [];
  const awkward = refScope(() => {
    made.push(put(1));
    return {
      eight: put(8),
      get no(): number {
        throw new Error("not to be read");
      },
      proxy: revoked.proxy,
      nine: [put(9)],
    };
  });
  t.equal(await get(awkward.eight), 8);
  t.equal(await get(awkward.nine[0] as ObjectRef<number>), 9);
  await t.rejects(
    get(made[0] as ObjectRef<number>),
    { code: "OBJECT_FREED" },
    "the rest is dropped",
  );
});

t.test("a function that was first used in a scope works after it", async (t) => {
  const double = remote((x: number) => 2 * x);
  t.equal(await refScope(() => get(double.remote(1))), 2);
  t.equal(await get(double.remote(2)), 4);
  t.equal(await get(double.options({ name: "other" }).remote(3)), 6);
});
