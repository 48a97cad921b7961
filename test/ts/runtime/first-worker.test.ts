// SPDX-License-Identifier: Apache-2.0
// Goal: the worker that a driver starts itself, before its node has a service, is a worker like every other one.
// Method: runtimes of one CPU, each with its own first worker, told by its log file (its startup token is 1); it runs,
// is killed with the main loop awake and blocked, ends before it attaches while the main thread waits for it in getSync (by a
// module that it inherits by --import), and cannot be started at all. What is left is looked for by the session's mark.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import threads from "node:worker_threads";
import { get, getSync, type InitOptions, init, remote, shutdown } from "polyray";
import t from "tap";
import { isAlive, processesOf, rejection, thrown, until } from "../mixed/support.ts";

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

/** Children of this process that carry the mark of any session. */
function children(): number[] {
  return processesOf("POLYRAY_SESSION_ID=").filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/status`, "utf8").includes(`\nPPid:\t${process.pid}\n`);
    } catch {
      return false;
    }
  });
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
  const [pid] = children();
  const mark = /POLYRAY_SESSION_ID=[^\0]+/.exec(readFileSync(`/proc/${pid}/environ`, "latin1"));
  if (mark === null) throw new Error("the first worker has no mark");
  t.ok(processesOf(mark[0]).length > 0, "it is found by the mark of its session");
  await shutdown();
  await until(() => processesOf(mark[0]).length === 0, `processes with ${mark[0]} live`);
});

t.test("a start whose service cannot begin leaves neither raylet nor first worker", async (t) => {
  const { Worker } = threads;
  const restore = (): void => {
    threads.Worker = Worker;
    syncBuiltinESMExports();
  };
  t.teardown(restore);
  threads.Worker = class extends Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      if (String(args[0]).includes("service-thread")) throw new Error("no thread for the service");
      super(...args);
    }
  };
  syncBuiltinESMExports();
  t.match((await rejection(start())).message, "no thread for the service");
  restore();
  await until(() => children().length === 0, "the first worker of the abandoned node lives");
  await start();
  t.ok(isAlive(await get(pidOf.remote())), "the next start finds nothing in its way");
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

// The first worker fails as soon as it runs its first module, or so late that the node's service has adopted it.
for (const [when, wait] of [
  ["before the service runs", ""],
  ["when the service has adopted it", "await new Promise((done) => setTimeout(done, 1500));"],
] as const) {
  for (const [how, end, told] of [
    ["throws", 'Error.stackTraceLimit = 0; throw new Error("no good start");', "code 1"],
    ["exits", 'console.error("no good start"); process.exit(7);', "code 7"],
    [
      "is killed",
      'console.error("no good start"); process.kill(process.pid, "SIGKILL"); await new Promise(() => setInterval(() => {}));',
      "SIGKILL",
    ],
  ] as const) {
    t.test(`what ${how} ${when} is told to a blocked main thread`, async (t) => {
      const module = join(t.testdir(), "preload.mjs");
      writeFileSync(module, `${wait}\n${end}\n`);
      const own = [...process.execArgv];
      process.execArgv.push("--import", pathToFileURL(module).href);
      t.teardown(() => {
        process.execArgv = own;
      });
      await start();
      const begun = Date.now();
      const { message } = thrown(() => getSync(pidOf.remote()));
      t.match(message, /did not start/);
      t.match(message, told);
      t.match(message, "no good start");
      t.ok(Date.now() - begun < 15_000, "long before the raylet gives such a worker up");
    });
  }
}

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
