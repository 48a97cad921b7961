// SPDX-License-Identifier: Apache-2.0
// Goal: actors do what the API says: order, state, names, handles as values, ends, concurrency.
// Method: real workers of an embedded runtime.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ActorHandle,
  exitActor,
  get,
  getActor,
  kill,
  listNamedActors,
  method,
  type ObjectRef,
  put,
  remote,
  runtimeContext,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime({ namespace: "tests" });

class Base {
  protected count = 0;
  get total(): number {
    return this.count;
  }
  value(): number {
    return this.count;
  }
}

class Counter extends Base {
  constructor(start = 0) {
    super();
    if (start < 0) throw new RangeError("a counter starts at 0 or above");
    this.count = start;
  }
  add(n = 1): number {
    this.count += n;
    return this.count;
  }
  pair(): [number, number] {
    return [this.count, -this.count];
  }
  fail(): never {
    throw new TypeError("no way");
  }
  leave(): never {
    return exitActor();
  }
  pid(): number {
    return process.pid;
  }
  crash(): never {
    process.exit(7);
  }
  who(): string[] {
    const { actorName, taskName, actorId } = runtimeContext();
    return [String(actorName), String(taskName), actorId === null ? "none" : "some"];
  }
  restarted(): boolean {
    return runtimeContext().actorRestarted;
  }
  async slow(ms: number): Promise<number> {
    this.count += 1;
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.count;
  }
}
const RemoteCounter = remote(Counter);

t.test("calls run in order and keep state; refs are resolved", async (t) => {
  const c = RemoteCounter.remote(put(5));
  const results = Array.from({ length: 10 }, () => c.add.remote());
  t.same(await get(results), [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  t.equal(await get(c.add.remote(put(5))), 20);
  t.equal(await get(c.value.remote()), 20, "inherited");
  t.same(
    await get(c.pair.options({ numReturns: 2 }).remote() as unknown as ObjectRef<number>[]),
    [20, -20],
  );
});

t.test("one method at a time, unless maxConcurrency says otherwise", async (t) => {
  const c = RemoteCounter.remote();
  t.same(await get([c.slow.remote(20), c.slow.remote(1), c.slow.remote(1)]), [1, 2, 3]);
  const many = RemoteCounter.options({ maxConcurrency: 3 }).remote();
  t.same(await get([many.slow.remote(50), many.slow.remote(50), many.slow.remote(50)]), [3, 3, 3]);
});

t.test("errors of methods and constructors", async (t) => {
  const c = RemoteCounter.remote();
  const error = await rejection(get(c.fail.remote()));
  t.equal(error.name, "TaskError");
  t.ok(error.cause instanceof TypeError);
  t.equal(await get(c.add.remote()), 1, "it lives on");
  t.match(
    thrown(() => (c as unknown as Record<string, { remote(): void }>).nothing?.remote()).message,
    /Counter has no method "nothing"; it has: .*add/,
  );
  t.equal((c as unknown as Record<string, unknown>).then, undefined);
  const broken = RemoteCounter.remote(-1);
  const died = await rejection(get(broken.add.remote()));
  t.equal(died.name, "ActorDiedError");
  t.match(died.message, /a counter starts at 0/);
});

t.test("handles are values", async (t) => {
  const c = RemoteCounter.remote();
  const adds = remote(async (counter: ActorHandle<Counter>, n: number) =>
    get(counter.add.remote(n)),
  );
  t.equal(await get(adds.remote(c, 2)), 2);
  const inClosure = remote(async () => get(c.add.remote(3)));
  t.equal(await get(inClosure.remote()), 5);
  class Keeper {
    async through(counter: ActorHandle<Counter>): Promise<number> {
      return get(counter.add.remote(10));
    }
  }
  t.equal(await get(remote(Keeper).remote().through.remote(c)), 15);
});

t.test("names: one holder, found by others, getIfExists", async (t) => {
  const named = RemoteCounter.options({ name: "counter" });
  const c = named.remote(1);
  t.equal(await get(c.add.remote()), 2);
  t.equal(thrown(() => named.remote(1)).name, "ActorAlreadyExistsError");
  const again = named.options({ getIfExists: true }).remote(1);
  t.equal(await get(again.add.remote()), 3);
  const found = await getActor<Counter>("counter");
  t.equal(await get(found.add.remote()), 4);
  t.same(await listNamedActors(), [{ name: "counter", namespace: "tests" }]);
  t.same(await get(found.who.remote()), ["counter", "Counter.who", "some"]);
  t.equal((await rejection(getActor("nobody"))).name, "ActorHandleNotFoundError");
  const other = RemoteCounter.options({ name: "counter", namespace: "elsewhere" }).remote(100);
  t.equal(await get(other.add.remote()), 101);
  const inTask = remote(async () => get((await getActor<Counter>("counter")).add.remote()));
  t.equal(await get(inTask.remote()), 5);
  await kill(c);
  t.equal((await rejection(get(found.add.remote()))).name, "ActorDiedError");
});

t.test("kill, exitActor and a dying process end an actor", async (t) => {
  const a = RemoteCounter.remote();
  const waiting = a.slow.remote(60_000);
  await get(RemoteCounter.remote().add.remote());
  await kill(a);
  t.equal((await rejection(get(waiting))).name, "ActorDiedError");
  const b = RemoteCounter.remote();
  const left = await rejection(get(b.leave.remote()));
  t.equal(left.name, "ActorDiedError", "as in Ray: the call that leaves has no result");
  t.match(left.message, /Counter.leave: the actor left by exitActor/);
  t.equal((await rejection(get(b.add.remote()))).name, "ActorDiedError");
  const c = RemoteCounter.remote();
  const crashed = await rejection(get(c.crash.remote()));
  t.equal(crashed.name, "ActorDiedError");
  t.match(crashed.message, /code 7/);
});

t.test("a handle can be printed like any object", async (t) => {
  const c = RemoteCounter.remote(1);
  t.equal(String(c), "[object ActorHandle(Counter)]");
  t.match(JSON.stringify({ c }), /^\{"c":"ActorHandle\(Counter, [0-9a-f]{32}\)"\}$/);
  t.notOk("nothing" in c);
});

t.test("ordered: false lets calls overtake one that waits for its argument", async (t) => {
  const path = join(t.testdir(), "open");
  const gate = remote(async (file: string) => {
    const { existsSync } = await import("node:fs");
    while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
    return 100;
  });
  const c = RemoteCounter.options({ ordered: false }).remote(0);
  const late = c.add.remote(gate.remote(path));
  t.equal(await get(c.add.remote(1)), 1, "it did not wait for the one before");
  writeFileSync(path, "");
  t.equal(await get(late), 101);
});

t.test("a function has no this in its worker", async (t) => {
  const what = remote(function (this: unknown) {
    return this === undefined;
  });
  t.equal(await get(what.remote()), true);
});

t.test("static restore makes the instance of a restarted actor", async (t) => {
  class Notes {
    how: string;
    constructor(how: string) {
      this.how = `new ${how}`;
    }
    static async restore(how: string): Promise<Notes> {
      const notes = new Notes(how);
      notes.how = `restored ${how}`;
      return notes;
    }
    tell(): string {
      return this.how;
    }
    die(): void {
      process.exit(1);
    }
  }
  const notes = remote(Notes, { maxRestarts: 1, maxTaskRetries: 1 }).remote("a");
  t.equal(await get(notes.tell.remote()), "new a");
  notes.die.options({ maxTaskRetries: 0 }).remote();
  let told = "";
  await until(async () => {
    told = await get(notes.tell.remote()).catch(() => "");
    return told !== "" && told !== "new a";
  });
  t.equal(told, "restored a");
});

t.test("maxRestarts starts it again with a fresh state", async (t) => {
  const c = RemoteCounter.options({ maxRestarts: 1, maxTaskRetries: 1 }).remote(10);
  t.equal(await get(c.add.remote()), 11);
  t.equal(await get(c.restarted.remote()), false);
  await rejection(get(c.crash.options({ maxTaskRetries: 0 }).remote()));
  t.equal(await get(c.add.remote()), 11);
  t.equal(await get(c.restarted.remote()), true);
});

t.test("an actor without handles ends its process", async (t) => {
  const c = RemoteCounter.remote();
  const pid = await get(c.pid.remote());
  await c[Symbol.asyncDispose]();
  const alive = (): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  while (alive()) await new Promise((resolve) => setTimeout(resolve, 20));
  t.notOk(alive());
});

t.test("@method gives a method its own options", async (t) => {
  class Split {
    both(): [number, number] {
      return [1, 2];
    }
  }
  // Called as a decorator is: tsx runs these tests without decorator support of its own.
  method({ numReturns: 2 })(Split.prototype.both, {});
  const refs = remote(Split).remote().both.remote() as unknown as ObjectRef<number>[];
  t.same(await get(refs), [1, 2]);
  t.match(thrown(() => method({ nope: 1 } as never)).message, /no option "nope"/);
});

t.test("maxPendingCalls limits what waits", async (t) => {
  const c = RemoteCounter.options({ maxPendingCalls: 2 }).remote();
  c.slow.remote(200);
  c.slow.remote(1);
  t.equal(thrown(() => c.slow.remote(1)).name, "PendingCallsLimitExceeded");
});
