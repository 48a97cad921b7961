// SPDX-License-Identifier: Apache-2.0
// Goal: a call past its time limit ends with TaskTimeoutError, wherever it is: queued, in a body that never yields, in a
// method of an actor (which goes on), in Python; and what a call submits has no longer than the call itself.
// Method: an embedded runtime with one CPU. No upper bounds on time: `within` is a watchdog.

import { type ActorHandle, get, type ObjectRef, pyFunction, remote } from "polyray";
import t from "tap";
import { idle as idleTs, startsSleeper } from "./fixtures/side.ts";
import { rejection, startRuntime, within } from "./support.ts";

await startRuntime({ numCpus: 1 });
const limit = { timeoutMs: 200 };
const sleepPy = pyFunction<[number], null>("time", "sleep");
const idle = remote(idleTs);

t.test("tasks: in time, never yielding, asynchronous, Python, queued", async (t) => {
  t.equal(await within(get(idle.options({ timeoutMs: 60_000 }).remote(1)), "in time"), "slept");
  const spin = remote(() => {
    for (;;);
  });
  for (const [what, ref] of [
    ["a body that never yields", spin.options(limit).remote()],
    ["a body that waits", idle.options(limit).remote(60_000)],
    ["a Python body", sleepPy.options(limit).remote(60)],
  ] as const) {
    const error = await rejection(within(get(ref as ObjectRef), what));
    t.equal(error.name, "TaskTimeoutError", what);
    t.equal(error.code, "TASK_TIMEOUT", what);
  }
  const holds = idle.remote(900);
  const queued = idle.options(limit).remote(1);
  t.equal((await rejection(within(get(queued), "queued"))).name, "TaskTimeoutError");
  t.equal(await within(get(holds), "the one before"), "slept");
});

t.test("a method is given up, its actor goes on", async (t) => {
  const Slow = remote(
    class {
      block(ms: number): void {
        const end = Date.now() + ms;
        while (Date.now() < end);
      }
      ping(): string {
        return "pong";
      }
    },
    { numCpus: 0 },
  );
  const slow = Slow.remote() as unknown as ActorHandle<{ block(ms: number): void; ping(): string }>;
  t.equal(await within(get(slow.ping.remote()), "ping"), "pong");
  const error = await rejection(within(get(slow.block.options(limit).remote(1200)), "block"));
  t.equal(error.name, "TaskTimeoutError");
  t.equal(await within(get(slow.ping.remote()), "ping"), "pong");
});

t.test("children have no longer than the call that makes them, in both languages", async (t) => {
  const parents: Record<string, () => ObjectRef> = {
    TypeScript: () => remote(startsSleeper).options({ timeoutMs: 3000 }).remote(60_000),
    Python: () =>
      pyFunction<[number], ObjectRef[]>("mixed_side", "starts_sleeper")
        .options({ timeoutMs: 3000 })
        .remote(60),
  };
  for (const [language, start] of Object.entries(parents)) {
    const [child] = (await within(get(start()), language)) as ObjectRef[];
    const error = await rejection(within(get(child as ObjectRef), `child of ${language}`));
    t.equal(error.name, "TaskTimeoutError", language);
  }
});
