// SPDX-License-Identifier: Apache-2.0
// Goal: what waits gives its CPU back and nothing blocks for ever: nested tasks over the language border on one CPU, a task
// that waits for another one of the same worker, actors of both languages that flood each other.
// Method: an embedded runtime with a single CPU.

import { join } from "node:path";
import { type ActorHandle, get, type ObjectRef, pyActor, pyFunction, remote } from "polyray";
import t from "tap";
import { Counter, down } from "./fixtures/side.ts";
import { fixtures, startRuntime, until, within } from "./support.ts";

await startRuntime({ numCpus: 1 });

interface Flooding {
  add(n: number): number;
  value(): number;
  flood(other: unknown, times: number): string;
}

const module = join(fixtures, "side.ts");

t.test("TypeScript, Python, TypeScript, Python: nested over the border with one CPU", async (t) => {
  const f = remote(down);
  t.same(await within(get(f.remote(module, 3)), "the chain from TypeScript"), [
    "ts",
    "py",
    "ts",
    "py",
  ]);
  const g = pyFunction<[string, number], string[]>("mixed_side", "down");
  t.same(await within(get(g.remote(module, 3)), "the chain from Python"), ["py", "ts", "py", "ts"]);
});

t.test(
  "a task waits for one that was submitted after it, in the same worker's language",
  async (t) => {
    const waits = pyFunction<[ObjectRef<unknown>[]], string>("mixed_side", "waits_for");
    const echo = pyFunction("mixed_side", "echo");
    const late = echo.remote("late");
    const first = waits.remote([late]);
    const second = waits.remote([first]);
    t.equal(await within(get(second), "the waiting tasks"), "after after late");
  },
);

for (const [name, make] of [
  ["TypeScript and TypeScript", () => [remote(Counter).remote(), remote(Counter).remote()]],
  [
    "TypeScript and Python",
    () => [remote(Counter).remote(), pyActor("mixed_side", "Counter").remote()],
  ],
] as const) {
  t.test(`two actors flood each other: ${name}`, async (t) => {
    const [a, b] = make() as unknown as [ActorHandle<Flooding>, ActorHandle<Flooding>];
    const times = 2000;
    t.same(await within(get([a.flood.remote(b, times), b.flood.remote(a, times)]), "the floods"), [
      "flooded",
      "flooded",
    ]);
    await until(
      async () => (await get([a.value.remote(), b.value.remote()])).every((n) => n === times),
      "all calls arrived",
    );
    t.same(await get([a.value.remote(), b.value.remote()]), [times, times]);
  });
}
