// SPDX-License-Identifier: Apache-2.0
// Goal: the worker that a driver starts itself, before its node has a service, is a worker like every other one.
// Method: runtimes of one CPU, each with its own first worker, told by its log file (its startup token is 1); it runs,
// is killed with the main loop awake and blocked, and cannot be started at all.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { get, getSync, type InitOptions, init, remote, shutdown } from "polyray";
import t from "tap";
import { isAlive, rejection, thrown, until } from "../mixed/support.ts";

const pidOf = remote(() => process.pid);
const die = remote(() => process.kill(process.pid, "SIGKILL"), { maxRetries: 0 });

async function start(options: InitOptions = {}): Promise<{ logs(): string[] }> {
  const runtime = await init({
    numCpus: 1,
    objectStoreMemory: "64MiB",
    logToDriver: false,
    ...options,
  });
  const folder = join(runtime.sessionDir, "logs");
  return { logs: () => readdirSync(folder).sort() };
}

t.afterEach(() => shutdown());

t.test("the first call runs in it, and it ends with the runtime", async (t) => {
  const { logs } = await start();
  const pid = await get(pidOf.remote());
  t.same(logs(), ["worker-1.err", "worker-1.out"], "no other worker was started");
  await shutdown();
  await until(() => !isAlive(pid), `the first worker (pid ${pid}) still lives`);
});

t.test("a runtime that is shut down at once leaves no first worker", async (t) => {
  const { logs } = await start();
  t.same(logs(), ["worker-1.err", "worker-1.out"]);
  await shutdown();
  t.pass("shutdown ended");
});

t.test("its death is told with its signal, and another worker follows", async (t) => {
  const { logs } = await start();
  const pid = await get(pidOf.remote());
  t.match((await rejection(get(die.remote()))).message, /SIGKILL|signal 9/);
  t.not(await get(pidOf.remote()), pid);
  t.equal(logs().length, 4);
});

t.test("its death is told while the main thread is blocked", async (t) => {
  await start();
  const ref = die.remote();
  t.match(thrown(() => getSync(ref)).message, /SIGKILL|signal 9/);
});

t.test("a node without CPUs starts none", async (t) => {
  const { logs } = await start({ numCpus: 0 });
  t.same(logs(), []);
});

t.test("where it cannot be started, the service starts another one", async (t) => {
  const own = process.execPath;
  process.execPath = join(own, "nothing");
  t.teardown(() => {
    process.execPath = own;
  });
  const { logs } = await start();
  t.ok(isAlive(await get(pidOf.remote())));
  t.ok(logs().includes("worker-2.out"));
});
