// SPDX-License-Identifier: Apache-2.0
// Goal: when memory runs out a task is ended and runs again, uncounted, or fails with OutOfMemoryError; an actor restarts
// or dies, and says why; what began earlier goes on.
// Method: the monitor reads a scratch folder. A task makes memory look full by a link to a file that it holds open, so that
// its end makes the figure go away at once: nobody else can be ended for it.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ActorDiedError,
  ActorUnavailableError,
  get,
  init,
  OutOfMemoryError,
  remote,
  shutdown,
} from "polyray";
import t from "tap";
import { rejection, until } from "./harness.ts";

const root = mkdtempSync(join(tmpdir(), "polyray-memory-"));
mkdirSync(join(root, "proc"));
process.env.POLYRAY_MEMORY_ROOT = root;
process.env.RAY_memory_monitor_refresh_ms = "20";
t.teardown(async () => {
  await shutdown();
  rmSync(root, { recursive: true, force: true });
});
await init({ numCpus: 4, objectStoreMemory: "64MiB", logToDriver: false });

// Memory is full as long as this process lives.
const fill = async (folder: string): Promise<never> => {
  const { openSync, renameSync, symlinkSync, writeFileSync } = await import("node:fs");
  const file = `${folder}/full-${process.pid}`;
  writeFileSync(file, "MemTotal: 1000000 kB\nMemAvailable: 10000 kB\n");
  symlinkSync(`/proc/${process.pid}/fd/${openSync(file, "r")}`, `${file}.link`);
  renameSync(`${file}.link`, `${folder}/proc/meminfo`);
  return new Promise(() => setInterval(() => undefined, 1000));
};

// Fills the memory in its first `times` runs.
const hungry = async (folder: string, log: string, times: number): Promise<string> => {
  const { appendFileSync, readFileSync } = await import("node:fs");
  appendFileSync(log, `${process.pid}\n`);
  const runs = readFileSync(log, "utf8").trim().split("\n");
  if (runs.length <= times) await fill(folder);
  return runs.join(" ");
};

const patient = remote(async (begun: string, over: string): Promise<number> => {
  const { existsSync, writeFileSync } = await import("node:fs");
  writeFileSync(begun, String(process.pid));
  while (!existsSync(over)) await new Promise((resolve) => setTimeout(resolve, 10));
  return process.pid;
});

t.test("the newest task runs again without using up its retries", async (t) => {
  const begun = join(root, "begun");
  const older = patient.remote(begun, join(root, "over"));
  await until(() => existsSync(begun) && readFileSync(begun, "utf8") !== "");
  const runs = remote(hungry, { maxRetries: 1 }).remote(root, join(root, "log-1"), 3);
  t.equal(new Set((await get(runs)).split(" ")).size, 4, "four runs, each in its own process");
  writeFileSync(join(root, "over"), "");
  t.equal(await get(older), Number(readFileSync(begun, "utf8")), "the older task went on");
});

t.test("the next is ended although the caller of the first has not noticed", async (t) => {
  const over = join(root, "over-busy");
  const memory = (available: number): void => {
    writeFileSync(join(root, "next"), `MemTotal: 1000000 kB\nMemAvailable: ${available} kB\n`);
    renameSync(join(root, "next"), join(root, "proc/meminfo"));
  };
  const start = async (name: string) => {
    const begun = join(root, name);
    const run = patient.options({ maxRetries: 1 }).remote(begun, over);
    await until(() => existsSync(begun) && readFileSync(begun, "utf8") !== "");
    return { run, pid: Number(readFileSync(begun, "utf8")) };
  };
  const first = await start("first");
  const second = await start("second");
  const runs = ({ pid }: { readonly pid: number }): boolean => {
    try {
      return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    } catch {
      return false;
    }
  };
  memory(10_000);
  const nap = new Int32Array(new SharedArrayBuffer(4));
  const giveUpAt = Date.now() + 60_000;
  while ((runs(first) || runs(second)) && Date.now() < giveUpAt) Atomics.wait(nap, 0, 0, 10);
  memory(900_000);
  t.notOk(runs(first) || runs(second), "both were ended while this program was busy");
  writeFileSync(over, "");
  t.ok((await rejection(get(first.run))) instanceof OutOfMemoryError, "the last of its owner");
  t.not(await get(second.run), second.pid, "the newer one ran again");
});

for (const maxRetries of [0, 3])
  t.test(`the only task of its owner with ${maxRetries} retries fails`, async (t) => {
    const log = join(root, `alone-${maxRetries}`);
    const error = await rejection(get(remote(hungry, { maxRetries }).remote(root, log, 9)));
    t.ok(error instanceof OutOfMemoryError);
    const pid = readFileSync(log, "utf8").trim();
    t.match((error as Error).message, `the task "hungry" (pid ${pid}) was ended because node`);
    t.match((error as Error).message, "(99.0 %) are in use, the threshold is 95 %");
  });

t.test("a lease that was idle wakes the monitor", async (t) => {
  const run = remote(hungry, { maxRetries: 0 });
  await get(run.remote(root, join(root, "calm"), 0));
  // By now the monitor sleeps, if the machine is not too slow; the outcome is the same if it does not yet.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const error = await rejection(get(run.remote(root, join(root, "awake"), 9)));
  t.ok(error instanceof OutOfMemoryError);
});

const Hoarder = remote(
  class Hoarder {
    pid(): number {
      return process.pid;
    }
    async hoard(folder: string): Promise<void> {
      await fill(folder);
    }
  },
);

t.test("an actor that may restart does, and its call says that it does", async (t) => {
  const hoarder = await Hoarder.options({ maxRestarts: 1 }).remote();
  const first = await get(hoarder.pid.remote());
  t.ok((await rejection(get(hoarder.hoard.remote(root)))) instanceof ActorUnavailableError);
  t.not(await get(hoarder.pid.remote()), first);
});

t.test("an actor that may not restart is dead for lack of memory", async (t) => {
  const hoarder = await Hoarder.remote();
  const pid = await get(hoarder.pid.remote());
  const error = await rejection(get(hoarder.hoard.remote(root)));
  t.ok(error instanceof ActorDiedError);
  t.match((error as Error).message, `[out of memory] the actor "Hoarder" (pid ${pid}) was ended`);
});
