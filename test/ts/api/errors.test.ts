// SPDX-License-Identifier: Apache-2.0
// Goal: bad input and failures are typed errors that say what to do, and nothing hangs.
// Method: real workers of an embedded runtime.

import { createServer } from "node:net";
import {
  cancel,
  currentSignal,
  fn,
  get,
  getSync,
  init,
  inspectSerializability,
  kwargs,
  put,
  remote,
  shutdown,
  wait,
} from "polyray";
import t from "tap";
import { notThere } from "./fixtures/broken-user.ts";
import { rejection, startRuntime, thrown, until } from "./harness.ts";

await startRuntime();

t.test("what a task throws comes back as TaskError with the cause", async (t) => {
  class OwnError extends Error {
    override name = "OwnError";
    constructor(readonly level: number) {
      super(`level ${level}`);
    }
  }
  const f = remote((what: string): never => {
    if (what === "own") throw new OwnError(3);
    if (what === "number") throw 42;
    throw undefined;
  });
  const own = await rejection(get(f.remote("own")));
  t.equal(own.name, "TaskError");
  t.equal(own.code, "TASK_FAILED");
  t.match(own.cause, { name: "OwnError", message: "level 3", level: 3 });
  t.type(own.pid, "number");
  t.match(own.remoteStack, /errors\.test\.ts:\d+/);
  t.match((await rejection(get(f.remote("number")))).message, /42/);
  t.match((await rejection(get(f.remote("undefined")))).message, /undefined/);
});

t.test("a worker that dies fails its task, or the task runs again", async (t) => {
  const f = remote(() => process.exit(3));
  const error = await rejection(get(f.options({ maxRetries: 0 }).remote()));
  t.equal(error.name, "WorkerCrashedError");
  const once = remote(async (dir: string) => {
    const fs = await import("node:fs");
    if (fs.existsSync(`${dir}/second`)) return "second";
    fs.writeFileSync(`${dir}/second`, "");
    process.kill(process.pid, "SIGKILL");
    return "first";
  });
  t.equal(await get(once.remote(t.testdir())), "second");
});

t.test("what cannot be sent is named", async (t) => {
  const server = createServer();
  const f = remote((x: unknown) => x);
  t.match(
    thrown(() => f.remote({ pool: { server } })),
    { name: "UnserializableError", path: "args[0].pool.server" },
  );
  const g = remote(() => server.listening);
  const captured = thrown(() => g.remote());
  t.equal(captured.name, "UnserializableError");
  t.match(captured.message, /server/);
  t.match(thrown(() => put(Symbol("x"))).message, /symbol/);
  t.match((await rejection(get(remote(() => createSocket()).remote()))).message, /the result/);
  t.match(inspectSerializability({ a: 1, b: { server }, c: server }), {
    ok: false,
    obstacles: [{ path: "value.b.server" }, { path: "value.c" }],
  });
  t.equal(inspectSerializability({ a: [1, () => 2] }).ok, true);
  t.equal(thrown(() => fn(() => server.address())).name, "UnserializableError");
  t.type(
    fn((x: number) => x),
    "function",
  );
  function createSocket(): unknown {
    return process.stdout;
  }
});

t.test("arguments that make no sense", async (t) => {
  t.match(
    thrown(() => remote(3 as never)).message,
    /takes a function, a class, or \{ file, export \}, not number/,
  );
  t.match((await rejection(get(3 as never))).message, /get takes an ObjectRef/);
  t.match(
    (await rejection(get(Promise.resolve(1) as never))).message,
    /a promise \(await it first\)/,
  );
  t.match((await rejection(get([put(1), 2] as never))).message, /element 1/);
  t.match((await rejection(wait("x" as never))).message, /wait takes/);
  t.match(thrown(() => put(put(1))).message, /not a ref/);
  t.match(
    (await rejection(get(put(1), { timeout: 1 } as never))).message,
    /no option "timeout".*timeoutMs/,
  );
  t.match(
    (await rejection(get(remote((x: unknown) => x).remote(kwargs({ a: 1 }))))).message,
    /no keyword arguments/,
  );
  t.match((await rejection(init())).message, /init\(\) was called twice/);
  t.match((await rejection(init({ numCpu: 3 } as never))).message, /no option "numCpu"/);
  t.ok(await init({ ignoreReinitError: true }));
});

t.test("a released ref is refused; values read before stay", async (t) => {
  const ref = put({ a: 1 });
  const value = await get(ref);
  ref[Symbol.dispose]();
  t.equal((await rejection(get(ref))).name, "ObjectFreedError");
  t.same(value, { a: 1 });
});

t.test("a module that does not load is a typed error with the reason", async (t) => {
  const error = await rejection(get(remote(notThere).remote()));
  t.equal(error.name, "RuntimeEnvSetupError");
  t.match(error.message, /broken-user/);
  t.match(error.message, /loads only in the driver/);
});

t.test("time limits and signals", async (t) => {
  const forever = remote(async () => {
    await new Promise((_resolve, reject) =>
      currentSignal().addEventListener("abort", () => reject(currentSignal().reason)),
    );
  });
  const ref = forever.remote();
  const timeout = await rejection(get(ref, { timeoutMs: 20 }));
  t.equal(timeout.name, "TimeoutError");
  t.equal(thrown(() => getSync(ref, { timeoutMs: 20 })).name, "TimeoutError");
  const stop = new AbortController();
  const waiting = rejection(get(ref, { signal: stop.signal }));
  stop.abort(new Error("enough"));
  t.equal((await waiting).message, "enough");
  await cancel(ref);
  t.equal((await rejection(get(ref))).name, "AbortError");
  const limited = await rejection(get(forever.options({ timeoutMs: 50 }).remote()));
  t.equal(limited.name, "TaskTimeoutError");
});

t.test("cancel: queued calls, running calls, by signal, by force", async (t) => {
  const loops = remote(async (ms: number) => {
    const end = Date.now() + ms;
    while (Date.now() < end) {
      currentSignal().throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return "done";
  });
  const running = Array.from({ length: 4 }, () => loops.remote(60_000));
  const queued = loops.remote(1);
  await cancel(queued);
  t.equal((await rejection(get(queued))).name, "AbortError");
  for (const ref of running) await cancel(ref);
  for (const ref of running) t.equal((await rejection(get(ref))).name, "AbortError");
  const stop = new AbortController();
  const bySignal = loops.options({ signal: stop.signal }).remote(60_000);
  stop.abort();
  t.equal((await rejection(get(bySignal))).name, "AbortError");
  const blocks = remote(() => {
    for (;;);
  });
  const stuck = blocks.remote();
  await rejection(get(stuck, { timeoutMs: 1000 }));
  await cancel(stuck, { force: true });
  t.ok(["AbortError", "WorkerCrashedError"].includes((await rejection(get(stuck))).name));
});

t.test("two tasks in one worker, the first waits for the second", async (t) => {
  await shutdown();
  await init({ numCpus: 1, objectStoreMemory: "64MiB", logToDriver: false });
  const second = remote(() => "second");
  const first = remote(
    async (box: { ref: ReturnType<typeof second.remote> }) => `first after ${await get(box.ref)}`,
  );
  const later = remote(async (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));
  await get(later.remote(1));
  const slow = later.remote(100);
  const pending = second.remote();
  t.equal(await get(first.remote({ ref: pending })), "first after second");
  await get(slow);
  let settled = 0;
  for (let i = 0; i < 20; i++) void get(second.remote()).then(() => settled++);
  await until(() => settled === 20);
});
