// SPDX-License-Identifier: Apache-2.0
// Goal: a runtime starts, is joined, ends, and leaves nothing behind; bad options are typed errors.
// Method: this process and children of it; what is left is read from /proc and the session folder.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import {
  availableResources,
  clusterResources,
  get,
  init,
  isInitialized,
  nodes,
  put,
  remote,
  runtimeContext,
  shutdown,
  storeStats,
} from "polyray";
import t from "tap";
import { driver, rejection, thrown, until } from "./harness.ts";

// One pair of log files for each worker that was started.
function workersOf(sessionDir: string): string[] {
  const folder = join(sessionDir, "logs");
  return existsSync(folder)
    ? readdirSync(folder).filter((name) => /^worker-.*out$/.test(name))
    : [];
}

t.test("the first worker starts with the runtime, and the first call runs in it", async (t) => {
  const { sessionDir } = await init({ numCpus: 1, objectStoreMemory: "64MiB" });
  await until(() => workersOf(sessionDir).length > 0);
  const started = workersOf(sessionDir);
  t.equal(await get(remote((x: number) => x + 1).remote(1)), 2);
  t.same(workersOf(sessionDir), started);
  await shutdown();
});

t.test(
  "no worker starts on a node without CPUs, or before its environment is set up",
  async (t) => {
    for (const options of [{ numCpus: 0 }, { runtimeEnv: { workingDir: import.meta.dirname } }]) {
      const { sessionDir } = await init({ objectStoreMemory: "64MiB", ...options });
      await nodes(); // answered after what init asked for
      t.same(workersOf(sessionDir), []);
      await shutdown();
    }
  },
);

t.test("start, look around, stop, start again", async (t) => {
  t.equal(isInitialized(), false);
  const runtime = await init({
    numCpus: 3,
    resources: { alice: 2 },
    objectStoreMemory: "64MiB",
    namespace: "here",
  });
  t.equal(isInitialized(), true);
  t.match(runtime.address, /^session:[0-9a-f]{16}$/);
  t.equal(runtime.dashboardUrl, null);
  t.match(await clusterResources(), { CPU: 3, alice: 2, object_store_memory: 64 * 1024 * 1024 });
  t.match(await availableResources(), { CPU: 3 });
  t.match(await nodes(), [
    { alive: true, nodeId: runtime.nodeId, objectStore: { spilledBytes: 0 } },
  ]);
  const held = put(new Float64Array(100_000));
  t.ok((await storeStats()).usedBytes > 800_000);
  t.match(runtimeContext(), {
    namespace: "here",
    nodeId: runtime.nodeId,
    taskId: null,
    actorId: null,
  });
  const inside = remote(() => runtimeContext());
  const seen = await get(inside.remote());
  t.match(seen, {
    namespace: "here",
    nodeId: runtime.nodeId,
    jobId: runtimeContext().jobId,
    attempt: 0,
  });
  t.type(seen.taskId, "string");
  const { sessionDir } = runtime;
  const waiting = rejection(get(remote(() => new Promise(() => undefined)).remote()));
  await shutdown();
  t.equal((await waiting).name, "ClosedError");
  t.equal((await rejection(held.toPromise())).name, "ClosedError");
  t.equal(isInitialized(), false);
  await until(() => !existsSync(sessionDir));
  {
    await using again = await init({ numCpus: 1, objectStoreMemory: "64MiB" });
    t.not(again.address, runtime.address);
    t.equal(await get(remote(() => 1).remote()), 1);
  }
  t.equal(isInitialized(), false);
});

t.test("the first use starts a runtime", async (t) => {
  t.equal(await get(put("auto")), "auto");
  t.equal(isInitialized(), true);
  await shutdown();
});

t.test("a second driver and a worker_thread join", async (t) => {
  const runtime = await init({ numCpus: 2, objectStoreMemory: "64MiB" });
  const other = await driver("joins", runtime.address);
  t.equal(other.code, 0);
  t.match(other.out, /joined 49/);
  const file = new URL("./fixtures/thread.mjs", import.meta.url);
  const thread = new Worker(file);
  const answer = await new Promise((resolve, reject) => {
    thread.once("message", resolve);
    thread.once("error", reject);
  });
  t.same(answer, [runtime.address, 2]);
  t.equal(await get(remote(() => "still here").remote()), "still here");
  await shutdown();
});

t.test("bad options", async (t) => {
  t.match(
    (await rejection(init({ objectStoreMemory: "1KiB" }))).message,
    /objectStoreMemory must be .*8 MiB/,
  );
  t.match((await rejection(init({ objectStoreMemory: "9000TiB" }))).message, /this machine has/);
  t.match((await rejection(init({ numCpus: -1 }))).message, /numCpus must be a number >= 0/);
  t.match((await rejection(init({ labels: ["a"] as never }))).message, /labels must be an object/);
  t.match((await rejection(init({ resources: { CPU: 1 } }))).message, /built-in/);
  t.match(
    (await rejection(init({ address: "10.1.2.3:1" }))).message,
    /no runtime found at address "10.1.2.3:1"/,
  );
  t.match(
    (await rejection(init({ address: "auto", numCpus: 1 }))).message,
    /numCpus belongs to the node/,
  );
  t.match((await rejection(init(3 as never))).message, /options must be an object/);
  t.equal(thrown(() => remote(() => 1, { what: 1 } as never)).name, "InvalidOptionError");
  t.equal(isInitialized(), false);
});

t.test("a resource that no node has is a typed error; other work runs", async (t) => {
  await init({ numCpus: 1, objectStoreMemory: "64MiB", logToDriver: false });
  const f = remote(() => 1);
  const never = await rejection(get(f.options({ resources: { unobtainium: 1 } }).remote()));
  t.equal(never.name, "UnschedulableError");
  t.match(never.message, /unobtainium/);
  t.equal(await get(f.remote()), 1);
  await shutdown();
});
