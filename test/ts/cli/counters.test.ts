// SPDX-License-Identifier: Apache-2.0
// Goal: the command shows the store, traces and counters; a scraping port serves them; a program without a runtime may ask one.
// Method: the command in processes of its own against a runtime that this program embeds, and against a started head.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cancel, init, kv, put, shutdown, state } from "polyray";
import t from "tap";
import { ask } from "../../../ts/cli/ask.ts";
import {
  polyray,
  rejection,
  root,
  scratchFolder,
  startHead,
  until,
  within,
} from "../mixed/support.ts";
import { busyRuntime, json, long, ok, type Row, width } from "./support.ts";

t.test("an embedded runtime", async (t) => {
  const { runtime, big, sleeper } = await busyRuntime();

  await t.test("memory says who holds what", async (t) => {
    const { out } = await ok(t, "memory");
    t.match(out, /^Object store: .* of 128\.0 MiB in use/);
    t.match(out, new RegExp(`^driver +${process.pid} +\\d+`, "m"));
    t.match(
      out,
      new RegExp(
        `^${big.id} +78\\d\\.\\d KiB +sealed +${process.pid}\\*? .*put by ${process.pid}$`,
        "m",
      ),
    );
    for (const line of out.split("\n")) t.ok([...line].length <= width, line);
    const machine = await json<{ store: Row; holders: Row[]; objects: Row[] }>(
      t,
      "memory",
      "--limit",
      "1",
    );
    t.equal(machine.objects.length, 1);
    t.equal(machine.objects[0]?.object_id, big.id);
    t.ok(machine.holders.some((one) => one.pid === process.pid && Number(one.objects) > 1));
    t.equal(machine.store.capacity_bytes, 128 * 2 ** 20);
  });

  await t.test("memory in groups, orders and units, and Ray's names of them", async (t) => {
    const groups = async (...args: string[]) =>
      (
        await json<{ groups: { group: string; total_objects: number; objects: Row[] }[] }>(
          t,
          "memory",
          ...args,
        )
      ).groups;
    const [node, ...others] = await groups("--group-by", "NODE_ADDRESS", "--sort-by", "PID");
    t.same(others, [], "one node");
    t.equal(node?.group, "127.0.0.1");
    const pids = node?.objects.map((row) => Number(row.pid)) ?? [];
    t.same(
      pids,
      pids.toSorted((a, b) => a - b),
    );
    const makers = await groups("--group-by", "stack_trace", "--num-entries", "1");
    const returned = makers.find((one) => one.group === `task ${long}`);
    t.ok(makers.some((one) => one.group === "put"));
    t.ok(makers.every((one) => one.objects.length === 1 && one.total_objects >= 1));
    t.ok(returned === undefined || returned.total_objects > 1);
    t.equal(
      makers.reduce((sum, one) => sum + one.total_objects, 0),
      node?.total_objects,
      "each object is in one group",
    );
    const [types] = await groups("--group-by", "node_address", "--sort-by", "REFERENCE_TYPE");
    const seen = types?.objects.map((row) => String(row.reference_type)) ?? [];
    t.same(seen, seen.toSorted());
    t.ok(new Set(seen).size > 1);
    const { out } = await ok(t, "memory", "--group-by", "STACK_TRACE", "--units", "KB", "--n", "1");
    t.match(out, /^Object store: [\d.]+ KB of 131072\.00 KB in use/);
    t.match(out, /^put: \d+ objects, 78\d\.\d\d KB$/m);
    t.match(out, /shown; --num-entries shows more\.$/m);
    t.match(
      (await ok(t, "memory", "--units", "B", "--stats-only")).out,
      /^.* of 134217728 B in use; .*\n$/,
    );
    t.strictSame(Object.keys(await json<Row>(t, "memory", "--stats-only")), ["store"]);
    for (const flag of ["--group-by", "--sort-by", "--units"]) {
      const { code, err } = await polyray(["memory", flag, "colour"]);
      t.equal(code, 2);
      t.match(err, /Allowed choices are/);
    }
  });

  await t.test("the timeline goes to a file or out", async (t) => {
    const file = join(scratchFolder(), "trace.json");
    t.match((await ok(t, "timeline", file)).out, /^\d+ runs written to .*trace\.json$/m);
    const events = JSON.parse(readFileSync(file, "utf8")) as Row[];
    t.ok(events.filter((event) => event.ph === "X" && event.name === long).length === 150);
    t.ok(Array.isArray(JSON.parse((await ok(t, "timeline", "-")).out)));
    const { code, err } = await polyray(["timeline", "/nowhere/x.json"]);
    t.equal(code, 1);
    t.match(err, /cannot be written/);
  });

  await t.test("counters: status --verbose, metrics", async (t) => {
    const plain = await ok(t, "status");
    t.match(plain.out, new RegExp(`Address: ${runtime.address}`));
    t.match(plain.out, /1\/2 CPU/);
    t.notMatch(plain.out, /bells rung/);
    const { out } = await ok(t, "status", "--verbose");
    t.match(out, /^tasks submitted( +\S+){3,}$/m);
    t.match(out, /^bells saved( +\S+){3,}$/m);
    for (const line of out.split("\n")) t.ok([...line].length <= width, line);
    const machine = await json<{
      roles: { role: string; counts: Row }[];
      address: string;
      counters: Row;
      processes: Row[];
    }>(t, "status", "-v");
    const driver = machine.roles.find((one) => one.role === "driver");
    t.ok(Number(driver?.counts.tasksSubmitted) >= 152);
    t.ok(machine.processes.some((one) => one.pid === process.pid));
    t.ok(Number(machine.counters.leasesGranted) >= 1);
    await until(
      async () => (await polyray(["metrics"])).out.includes('polyray_served{route="/x"} 3'),
      "the program's own counter is shown",
    );
    t.match((await ok(t, "metrics")).out, /^polyray_actors\{state="ALIVE"\} 1$/m);
    const families = await json<Row[]>(t, "metrics");
    t.ok(families.some((one) => one.name === "served" && one.kind === "counter"));
  });

  cancel(sleeper, { force: true });
  await shutdown();
});

t.test("a started head with a scraping port; a program without a runtime may ask it", async (t) => {
  const { address } = await startHead("--metrics-port", "0");
  t.teardown(() => polyray(["stop", "--address", address]));
  const shown = await ok(t, "status", "--address", address);
  const url = /^Metrics: (http:\S+)$/m.exec(shown.out)?.[1];
  t.match(await (await fetch(String(url))).text(), /^polyray_nodes 1$/m);
  const nodes = await within(state.listNodes({ address }), "the nodes");
  t.match(nodes, [{ state: "ALIVE", resourcesTotal: { CPU: 1 } }]);
  t.equal((await state.summarizeTasks({ address })).totalTasks, 0);
  const [rows, , first] = await within(
    Promise.all([state.listNodes({ address }), state.listActors({ address }), kvLater()]),
    "questions at the same time, and a first use",
  );
  t.equal(rows.length, 1);
  t.equal(first.code, "NOT_INITIALIZED");
  const never = await rejection(
    within(
      ask({ address, timeout: 0.1 }, () => new Promise(() => undefined)),
      "a late answer",
    ),
  );
  t.match(never.message, /did not come within 100 ms/);
  const stats = ask({ address }, (current) => current.request("node.stats"));
  t.equal((await within(stats, "the next question")).address, address, "the late one was left");
  const asked = state.listNodes({ address });
  const early = await within(init({ address, logToDriver: false }), "init during a question");
  t.equal(early.address, address);
  t.equal((await asked).length, 1);
  await shutdown();
  const taken = await polyray([
    "start",
    "--head",
    "--port",
    "0",
    "--metrics-port",
    String(new URL(String(url)).port),
  ]);
  t.equal(taken.code, 1);
  t.match(taken.err, /metrics cannot be served on 127\.0\.0\.1:\d+: .*Choose another metrics port/);
  const joined = await init({ address, logToDriver: false });
  t.equal(joined.metricsUrl, url);
  await kv.put("a", 1);
  await shutdown();
  t.notOk(existsSync(join(root, "polyray-timeline")));
});

/** What a use without init is refused with. */
const kvLater = (): Promise<Error & { code?: string }> => rejection((async () => put(1))());
