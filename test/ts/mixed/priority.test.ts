// SPDX-License-Identifier: Apache-2.0
// Goal: of calls that wait, the one with the highest priority goes first and equal ones in order: in one class, between
// classes, between callers, and in Python.
// Method: one CPU that a task holds until all others have been submitted; each gives its name and when it began.

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { get, metricsText, type ObjectRef, pyFunction, remote } from "polyray";
import t from "tap";
import { scratchFolder, startRuntime, until, within } from "./support.ts";

await startRuntime({ numCpus: 1, resources: { other: 1 } });

type Began = [name: string, seconds: number];

const hold = remote(async (folder: string) => {
  writeFileSync(join(folder, "held"), "");
  while (!existsSync(join(folder, "open"))) await new Promise((next) => setTimeout(next, 10));
});
// The monotonic clock of the machine, which Python's time.monotonic() reads as well.
const tell = remote((name: string): Began => [name, Number(process.hrtime.bigint()) / 1e9]);
const tellSlowly = remote(async (name: string, folder: string): Promise<Began> => {
  const began = Number(process.hrtime.bigint()) / 1e9;
  writeFileSync(join(folder, "slow"), "");
  while (!existsSync(join(folder, "go on"))) await new Promise((next) => setTimeout(next, 10));
  return [name, began];
});

/** How many calls wait for a worker, as the raylet has read of all callers. */
const waiting = async () =>
  Number(/^polyray_leases_waiting (\d+)$/m.exec(await metricsText())?.[1] ?? 0);

/** Names in the order in which they began. `submit` has submitted everything when it resolves. */
async function order(
  submit: (folder: string) => Promise<ObjectRef<Began | Began[]>[]>,
  opened: (folder: string) => Promise<void> = async () => {},
): Promise<string[]> {
  const folder = scratchFolder();
  await within(get(tell.remote("warm")), "a worker");
  const holding = hold.remote(folder);
  await until(() => existsSync(join(folder, "held")), "the CPU is held");
  const refs = await submit(folder);
  await until(async () => (await waiting()) === 4, "the raylet knows of all");
  writeFileSync(join(folder, "open"), "");
  await within(get(holding), "the one before");
  await opened(folder);
  const began = await within(get(refs), "all tasks");
  return began
    .flatMap((one) => (Array.isArray(one[0]) ? (one as Began[]) : [one as Began]))
    .sort((a, b) => a[1] - b[1])
    .map(([name]) => name);
}

t.test("the highest first, equal ones in order, over classes of resources", async (t) => {
  const names = await order(async () =>
    [0, -1, 2, 0, 9].map((priority, i) =>
      tell
        .options(i === 4 ? { priority, resources: { other: 1 } } : { priority })
        .remote(`${priority} (${i})`),
    ),
  );
  t.same(names, ["9 (4)", "2 (2)", "0 (0)", "0 (3)", "-1 (1)"]);
});

t.test(
  "callers: a Python task's calls of priority 1 go between a driver's of 5 and 0",
  async (t) => {
    const ranked = pyFunction<[string, string[], number], Began[]>("mixed_side", "submits_ranked");
    // Whoever has a worker goes before a call whose worker has to be started: here are both.
    await within(
      get(ranked.options({ numCpus: 0 }).remote(scratchFolder(), ["warm"], 1)),
      "Python",
    );
    const names = await order(
      async (folder) => {
        const low = tell.options({ priority: 0 }).remote("driver 0");
        const python = ranked.options({ numCpus: 0 }).remote(folder, ["py a", "py b"], 1);
        await until(() => existsSync(join(folder, "submitted")), "Python has submitted");
        return [python, low, tellSlowly.options({ priority: 5 }).remote("driver 5", folder)];
      },
      async (folder) => {
        // The raylet moves workers from caller to caller, between calls that are longer than its messages take. It has
        // read what the driver said of its next call when it has read a later request.
        await until(() => existsSync(join(folder, "slow")), "the first one runs");
        await within(get(tell.options({ numCpus: 0 }).remote("probe")), "the probe");
        writeFileSync(join(folder, "go on"), "");
      },
    );
    t.same(names, ["driver 5", "py a", "py b", "driver 0"]);
  },
);
