// SPDX-License-Identifier: Apache-2.0
// Goal: one AbortSignal of a TypeScript caller ends a tree of calls over the language border: TypeScript, Python, TypeScript,
// and Python, TypeScript, Python. Every leaf stops, no worker is lost, all resources come back.
// Method: leaves tell a board that they run and that they stopped; afterwards all CPUs can be had at once.

import { join } from "node:path";
import { get, pyFunction, remote } from "polyray";
import t from "tap";
import { Board } from "./fixtures/side.ts";
import { fixtures, rejection, startRuntime, until, within } from "./support.ts";

await startRuntime({ numCpus: 4 });
const module = join(fixtures, "side.ts");
const names = ["left", "right"];

for (const [path, entry, ends] of [
  ["TypeScript, Python, TypeScript", "abort_middle", "enough of it"],
  ["TypeScript, Python, TypeScript, Python", "abort_top", "interrupted"],
] as const) {
  t.test(`an abort reaches every leaf: ${path}`, async (t) => {
    const board = remote(Board, { numCpus: 0 }).remote();
    const lines = () => get(board.all.remote());
    const stop = new AbortController();
    const top = pyFunction<[unknown, string[], string], unknown>("mixed_side", entry);
    const root = top.options({ signal: stop.signal }).remote(board, names, module);
    await until(async () => (await lines()).length === names.length, "the leaves run");
    stop.abort(new Error("enough of it"));
    const error = await rejection(get(root));
    t.match(error, { name: "AbortError", code: "TASK_CANCELLED" });
    t.match(error.cause, { message: "enough of it" });
    await until(async () => (await lines()).length === 2 * names.length, "the leaves stopped");
    t.same(
      (await lines()).filter((line) => line.includes("stopped")).sort(),
      names.map((name) => `${name} stopped: ${ends}`),
    );
    const all = remote(() => "all CPUs", { numCpus: 4 }).remote();
    t.equal(await within(get(all), "a task with all CPUs"), "all CPUs");
  });
}
