// SPDX-License-Identifier: Apache-2.0
// Goal: a thread of the driver works while the main thread is blocked; a driver that was stopped for a while goes on; a write
// into an array of the store stays in the process that wrote.
// Method: an embedded runtime; Atomics.wait blocks the main thread; SIGSTOP stops a caller of the other language.

import { spawn } from "node:child_process";
import { Worker } from "node:worker_threads";
import { get, put, pyActor, pyFunction } from "polyray";
import t from "tap";
import { fixtures, startRuntime, until, venvPython, within } from "./support.ts";

const runtime = await startRuntime();

t.test("a worker_thread gets while the main thread is blocked", async (t) => {
  const flag = new Int32Array(new SharedArrayBuffer(8));
  const thread = new Worker(new URL("./fixtures/thread.mjs", import.meta.url), {
    workerData: { flag: flag.buffer },
    execArgv: [],
  });
  await within(
    new Promise((resolve, reject) => {
      thread.once("message", resolve);
      thread.once("error", reject);
    }),
    "the thread joins",
  );
  thread.postMessage("go");
  t.not(Atomics.wait(flag, 0, 0, 60_000), "timed-out");
  t.equal(flag[1], 1, "the thread got its value while nothing ran here");
  await within(new Promise((resolve) => thread.once("exit", resolve)), "the thread's end");
});

t.test("a stopped caller holds nobody up, and goes on when it is continued", async (t) => {
  const counter = pyActor<{ add(n?: number): number }>("mixed_side", "Counter", {
    name: "shared-counter",
  }).remote();
  t.equal(await within(get(counter.add.remote(0)), "the actor"), 0);
  const source = `
import polyray as ray
ray.init(${JSON.stringify(runtime.address)})
counter = ray.get_actor("shared-counter")
print("started", flush=True)
for i in range(3000):
    ref = counter.add.remote(1)
ray.get(ref)
print("done", flush=True)
`;
  const caller = spawn(venvPython, ["-c", source], {
    env: { ...process.env, PYTHONPATH: fixtures },
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => caller.kill("SIGKILL"));
  let said = "";
  caller.stdout.setEncoding("utf8").on("data", (part: string) => {
    said += part;
  });
  const ended = new Promise<number | null>((resolve) => caller.once("exit", resolve));
  await until(() => said.includes("started"), "the caller starts");
  caller.kill("SIGSTOP");
  for (let i = 0; i < 200; i++) await within(get(counter.add.remote(0)), "our calls");
  t.equal(await within(get(pyFunction("mixed_side", "echo").remote(1)), "a task"), 1);
  caller.kill("SIGCONT");
  t.equal(await within(ended, "the caller"), 0);
  t.match(said, /done/);
  t.equal(await within(get(counter.add.remote(0)), "the count"), 3000);
});

t.test("a write into an array of the store stays here", async (t) => {
  const ref = put(new Float64Array(100_000).fill(1));
  const mine = await within(get(ref), "the array");
  mine[0] = 99;
  mine[99_999] = 99;
  const sum = pyFunction<[unknown], number>("mixed_side", "sum_of");
  t.equal(await within(get(sum.remote(ref)), "Python's view"), 100_000);
});
