// SPDX-License-Identifier: Apache-2.0
// Goal: placement groups, node affinity and labels place work on one node; removing a group ends what runs in it.
// Method: real workers of an embedded runtime of four CPUs.

import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  availableResources,
  currentPlacementGroup,
  get,
  getPlacementGroup,
  listPlacementGroups,
  nodeAffinity,
  nodeLabels,
  placementGroup,
  put,
  pyFunction,
  remote,
  runtimeContext,
} from "polyray";
import t from "tap";
import { rejection, startRuntime, thrown } from "./harness.ts";

await startRuntime({ numCpus: 4, resources: { bob: 2 }, labels: { zone: "a" } });

const where = remote(() => currentPlacementGroup()?.id ?? null);
const forever = remote(
  async (mark: string) => {
    const { writeFileSync } = await import("node:fs");
    writeFileSync(mark, "");
    return new Promise<null>(() => undefined);
  },
  { maxRetries: 0 },
);
class Member {
  group(): string | null {
    return currentPlacementGroup()?.id ?? null;
  }
}
const RemoteMember = remote(Member);

t.test("work runs in bundles, of both languages", async (t) => {
  const pg = placementGroup([{ CPU: 1 }, { CPU: 1, bob: 1 }], { name: "g" });
  await pg.ready({ timeoutMs: 10_000 });
  t.same(pg.bundles, [{ CPU: 1 }, { CPU: 1, bob: 1 }]);
  t.equal(await get(where.options({ scheduling: pg.bundle(0) }).remote()), pg.id);
  t.equal(await get(where.options({ scheduling: pg.any() }).remote()), pg.id);
  t.equal(await get(where.remote()), null);
  const member = RemoteMember.options({ numCpus: 1, scheduling: pg.bundle(1) }).remote();
  t.equal(await get(member.group.remote()), pg.id);
  const floor = pyFunction<[number], number>("math", "floor");
  t.equal(await get(floor.options({ scheduling: pg.bundle(0) }).remote(2.5)), 2);
  t.equal((await getPlacementGroup("g")).id, pg.id);
  t.equal((await availableResources()).CPU, 2);
  t.ok((await listPlacementGroups()).some((one) => one.id === pg.id && one.state === "CREATED"));
  await pg.remove();
  t.equal((await pg.info()).state, "REMOVED");
});

t.test("children are captured when asked", async (t) => {
  await using pg = placementGroup([{ CPU: 2 }]);
  const parent = remote(async () => [
    await get(where.options({ numCpus: 0 }).remote()),
    await get(where.options({ numCpus: 0, scheduling: "default" }).remote()),
  ]);
  const captured = parent.options({ scheduling: pg.any({ captureChildren: true }) });
  t.same(await get(captured.remote()), [pg.id, null]);
  t.same(await get(parent.options({ scheduling: pg.any() }).remote()), [null, null]);
});

t.test("a removed group ends its work, one without room waits", async (t) => {
  const mark = join(t.testdir(), "started");
  const pg = placementGroup([{ CPU: 3 }]);
  await pg.ready();
  const running = forever.options({ scheduling: pg.bundle(0), numCpus: 3 }).remote(mark);
  while (!existsSync(mark)) await new Promise((done) => setTimeout(done, 20));
  const next = placementGroup([{ CPU: 2 }]);
  const error = await rejection(next.ready({ timeoutMs: 50 }));
  t.equal(error.name, "TimeoutError");
  const waits = where.options({ scheduling: next.any() }).remote();
  await pg.remove();
  t.equal((await rejection(get(running))).name, "WorkerCrashedError");
  t.equal(await get(waits), next.id);
  const late = await rejection(get(where.options({ scheduling: pg.any() }).remote()));
  t.equal(late.name, "TaskPlacementGroupRemoved");
  t.equal((await rejection(pg.ready())).name, "TaskPlacementGroupRemoved");
  await next.remove();
});

t.test("nodes and labels", async (t) => {
  const here = runtimeContext().nodeId;
  const good = [
    { scheduling: nodeAffinity(here) },
    { scheduling: nodeAffinity("ab".repeat(8), { soft: true }) },
    { scheduling: nodeLabels({ hard: { zone: { in: ["a", "b"] }, x: { exists: false } } }) },
    { labels: { zone: "a", rack: "!7" } },
    { scheduling: "spread" as const },
  ];
  for (const options of good) t.equal(await get(where.options(options).remote()), null);
  const bad = [
    { scheduling: nodeAffinity("ab".repeat(8)) },
    { scheduling: nodeLabels({ hard: { zone: { notIn: ["a"] } } }) },
    { labels: { zone: "b" } },
    { acceleratorType: "A100" },
  ];
  for (const options of bad)
    t.equal((await rejection(get(where.options(options).remote()))).name, "UnschedulableError");
});

t.test("what is not allowed is said", async (t) => {
  t.match(thrown(() => placementGroup([])).message, "list that is not empty");
  t.match(thrown(() => placementGroup([{}])).message, "some resource");
  t.match(thrown(() => placementGroup([{ CPU: -1 }])).message, "CPU must be a number");
  t.match(
    thrown(() => placementGroup([{ CPU: 1 }], { strategy: "FOO" as "PACK" })).message,
    "strategy must be one of",
  );
  await using pg = placementGroup([{ CPU: 1 }], { name: "taken" });
  t.match(thrown(() => pg.bundle(3)).message, "no bundle 3");
  t.match(thrown(() => placementGroup([{ CPU: 1 }], { name: "taken" })).message, "already exists");
  t.match((await rejection(getPlacementGroup("nope"))).message, 'named "nope"');
  t.match(thrown(() => where.options({ scheduling: 3 as never })).message, "scheduling must be");
  t.equal(await get(put(1)), 1);
});
