// SPDX-License-Identifier: Apache-2.0
// Goal: a program sees what its runtime runs and holds: lists, single rows, summaries, traces, keys, metrics; also right after
// a worker was killed.
// Method: one runtime of two CPUs with a known history. What becomes true soon is waited for under a watchdog.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Counter,
  cancel,
  Gauge,
  get,
  Histogram,
  init,
  kv,
  metricsText,
  type ObjectRef,
  placementGroup,
  put,
  pyFunction,
  remote,
  state,
  timeline,
  wait,
} from "polyray";
import t from "tap";
import {
  isAlive,
  rejection,
  runPython,
  scratchFolder,
  startRuntime,
  thrown,
  until,
} from "../mixed/support.ts";

class Member {
  pid(): number {
    return process.pid;
  }
  die(): void {
    process.kill(process.pid, "SIGKILL");
  }
}

process.env.POLYRAY_TMPDIR = scratchFolder();
const runtime = await startRuntime({ metricsPort: 0 });
const double = remote(function double(x: number): number {
  return 2 * x;
});
const fail = remote(
  function fail(): void {
    throw new Error("no such luck");
  },
  { maxRetries: 0 },
);
const sleep = remote(
  async function sleep(): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, 600_000));
    return process.pid;
  },
  { maxRetries: 0 },
);

const member = remote(Member, { name: "m" }).remote();
t.teardown(() => void member); // a handle that nobody has ends its actor
const memberPid = await get(member.pid.remote());
await get(double.map(Array.from({ length: 300 }, (_, i) => i)));
await rejection(get(fail.remote()));
const sleepers = [sleep.remote(), sleep.remote(), sleep.remote()];
const waits = double.remote(sleepers[0] as ObjectRef<number>);
const big = put(new Float64Array(50_000));
await until(
  async () => (await state.listTasks({ filters: [["state", "=", "running"]] })).length === 2,
  "two tasks run",
);

t.test("tasks are listed with their states, filtered, cut, with all fields", async (t) => {
  const doubles = await state.listTasks({
    filters: [["funcOrClassName", "=", "double"]],
    limit: 1000,
  });
  t.equal(doubles.length, 301);
  t.equal(doubles.filter((row) => row.state === "FINISHED").length, 300);
  t.equal((await state.listTasks()).length, 100);
  t.equal((await state.listTasks({ limit: 7 })).length, 7);
  const others = await state.listTasks({ filters: [["funcOrClassName", "!=", "double"]] });
  t.ok(others.length > 0 && others.every((row) => row.name !== "double"));
  const [failed] = await state.listTasks({
    filters: [
      ["state", "=", "FAILED"],
      ["name", "=", "fail"],
    ],
    detail: true,
  });
  t.match(failed, {
    type: "NORMAL_TASK",
    errorType: "TASK_EXECUTION_EXCEPTION",
    errorMessage: /no such luck/,
    language: "TYPESCRIPT",
    requiredResources: { CPU: 1 },
  });
  t.ok(Number(failed?.startTimeMs) <= Number(failed?.endTimeMs));
  const [short] = await state.listTasks({ filters: [["name", "=", "fail"]] });
  t.notOk("errorMessage" in (short as object), "a short list has short rows");
});

t.test("one row by id or ref; null when there is none", async (t) => {
  const waiting = await state.getTask(waits);
  t.match(waiting, { state: "PENDING_ARGS_AVAIL", name: "double", taskId: waits.id });
  t.equal((await state.getTask(waits.id))?.taskId, waits.id);
  t.equal(await state.getTask("ff".repeat(16)), null);
  const [actor] = await state.listActors({ filters: [["name", "=", "m"]] });
  const detail = await state.getActor(String(actor?.actorId));
  t.match(detail, { state: "ALIVE", className: "Member", pid: memberPid, numRestarts: 0 });
  t.match(await state.getObject(big), {
    objectId: big.id,
    callSite: "put",
    storeState: "SEALED",
    holders: [{ pid: process.pid, type: "DRIVER", references: true }],
  });
  t.ok(Number((await state.getObject(big.id))?.objectSize) >= 400_000);
  t.equal((await state.getNode(runtime.nodeId))?.state, "ALIVE");
  t.equal(await state.getPlacementGroup("00".repeat(16)), null);
});

t.test("workers, nodes, jobs, placement groups", async (t) => {
  const workers = await state.listWorkers();
  t.ok(workers.some((row) => row.workerType === "DRIVER" && row.pid === process.pid));
  t.ok(workers.some((row) => row.workerType === "WORKER" && row.pid === memberPid && row.isAlive));
  const [own] = workers.filter((row) => row.pid === process.pid);
  t.equal((await state.getWorker(String(own?.workerId)))?.pid, process.pid);
  const [node] = await state.listNodes();
  t.match(node, { nodeId: runtime.nodeId, isHeadNode: true, resourcesTotal: { CPU: 2 } });
  const [job] = await state.listJobs();
  t.match(job, { status: "RUNNING", driverInfo: { pid: String(process.pid) } });
  t.equal((await state.getJob(String(job?.jobId)))?.jobId, job?.jobId);
  const group = placementGroup([{ bob: 1 }], { name: "p" });
  await until(async () => (await state.listPlacementGroups()).length === 1, "the group is listed");
  const [listed] = await state.listPlacementGroups({ detail: true });
  t.match(listed, { name: "p", state: "PENDING", bundles: [{ unit_resources: { bob: 1 } }] });
  t.equal((await state.getPlacementGroup(String(listed?.placementGroupId)))?.name, "p");
  t.ok(group);
});

t.test("summaries count", async (t) => {
  const tasks = await state.summarizeTasks();
  t.equal(tasks.summary.double?.stateCounts.FINISHED, 300);
  t.equal(tasks.summary.fail?.stateCounts.FAILED, 1);
  t.ok(tasks.totalTasks >= 305 && tasks.totalActorTasks >= 1 && tasks.totalActorScheduled >= 1);
  const actors = await state.summarizeActors();
  t.equal(actors.summary.Member?.stateCounts.ALIVE, 1);
  const objects = await state.summarizeObjects();
  t.ok(objects.totalObjects > 1 && objects.totalSizeBytes >= 400_000);
  t.ok(Number(objects.summary.put?.totalSizeBytes) >= 400_000);
});

t.test("wrong questions are refused with what would be right", async (t) => {
  const bad = state.listTasks as (options: object) => Promise<unknown>;
  for (const [options, text] of [
    [{ filters: [["bogus", "=", 1]] }, /Fields of tasks: taskId/],
    [{ filters: [["state", "~", 1]] }, /compares by "=" or "!="/],
    [{ filters: "state" }, /a list such as/],
    [{ filters: [["state"]] }, /a filter is/],
    [{ limit: 20_000 }, /from 1 to 10000/],
    [{ limit: 0 }, /from 1 to 10000/],
    [{ detail: 1 }, /true or false/],
    [{ lmit: 1 }, /lmit/],
    [{ timeoutMs: -1 }, /milliseconds/],
    [{ address: "auto" }, /has a runtime already/],
  ] as const) {
    const error = await rejection(bad(options));
    t.equal(error.code, "INVALID_OPTION", JSON.stringify(options));
    t.match(error.message, text);
  }
  t.match((await rejection(state.getActor(""))).message, /an id is a non-empty string/);
});

t.test("after a kill -9 the lists tell the truth soon", async (t) => {
  const doomed = remote(Member, { maxRestarts: 0 }).remote();
  const pid = await get(doomed.pid.remote());
  const [row] = await state.listActors({ filters: [["pid", "=", pid]] });
  const [worker] = await state.listWorkers({ filters: [["pid", "=", pid]] });
  process.kill(pid, "SIGKILL");
  await until(
    async () => (await state.getActor(String(row?.actorId)))?.state === "DEAD",
    "the actor is dead",
  );
  await until(
    async () => (await state.getWorker(String(worker?.workerId)))?.isAlive === false,
    "its worker is gone",
  );
  t.match((await state.getWorker(String(worker?.workerId)))?.exitDetail, /SIGKILL/);
  t.match((await state.getActor(String(row?.actorId)))?.deathCause, /SIGKILL/);
  const running = await state.listTasks({
    filters: [
      ["name", "=", "sleep"],
      ["state", "=", "RUNNING"],
    ],
  });
  const victim = running[0];
  process.kill(Number(victim?.workerPid), "SIGKILL");
  await until(
    async () => (await state.getTask(String(victim?.taskId)))?.state === "FAILED",
    "the task of a killed worker failed",
  );
  t.equal((await state.getTask(String(victim?.taskId)))?.errorType, "WORKER_DIED");
  t.notOk(isAlive(Number(victim?.workerPid)));
  const { ready } = await wait(sleepers, { timeoutMs: 30_000 });
  t.equal(ready.length, 1);
  for (const one of sleepers) cancel(one, { force: true });
});

t.test("the timeline has what ran, in the form that trace viewers read", async (t) => {
  const file = join(scratchFolder(), "trace.json");
  const events = await timeline(file);
  t.same(JSON.parse(readFileSync(file, "utf8")), events);
  const runs = events.filter((event) => event.ph === "X" && event.name === "double");
  t.ok(runs.length >= 300);
  for (const { ts, dur, pid, tid } of runs)
    t.ok(
      Number.isInteger(tid) &&
        Number(tid) < 2 ** 32 &&
        Number(pid) > 0 &&
        Number(dur) >= 0 &&
        Math.abs(Number(ts) / 1000 - Date.now()) < 3_600_000,
    );
  const named = new Set(events.filter((e) => e.name === "process_name").map((e) => e.pid));
  t.ok(runs.every((run) => named.has(run.pid)));
  const byLane = new Map<number, number>();
  for (const run of events.filter((event) => event.ph === "X")) {
    t.ok(Number(run.ts) >= (byLane.get(Number(run.tid)) ?? 0), "runs of a lane do not overlap");
    byLane.set(Number(run.tid), Number(run.ts) + Number(run.dur));
  }
});

t.test("keys hold bytes, text and JSON, apart by namespace; Python sees the bytes", async (t) => {
  t.equal(await kv.get("a"), undefined);
  t.equal(await kv.put("a", "text"), true);
  t.equal(await kv.get("a"), "text");
  t.equal(await kv.put("a", { x: [1, null] }), true);
  t.same(await kv.get("a"), { x: [1, null] });
  t.equal(await kv.get("a", { as: "text" }), '{"x":[1,null]}');
  t.equal(await kv.put("a", 1, { overwrite: false }), false);
  t.same(await kv.get("a"), { x: [1, null] });
  await kv.put("a", Uint8Array.of(0, 255));
  t.same(await kv.get("a"), Uint8Array.of(0, 255));
  t.equal(await kv.put("a", 2, { expected: Uint8Array.of(1) }), false);
  t.equal(await kv.put("a", 2, { expected: Uint8Array.of(0, 255) }), true);
  t.equal(await kv.put("new", 1, { expected: null }), true);
  t.equal(await kv.put("new", 1, { expected: null }), false);
  t.equal(await kv.exists("a", { namespace: "n" }), false);
  await kv.put("ab", null, { namespace: "n" });
  t.equal(await kv.get("ab", { namespace: "n" }), null);
  t.same(await kv.list("a"), ["a"]);
  t.same(await kv.list("", { namespace: "n" }), ["ab"]);
  t.equal(await kv.del("a", { prefix: true, namespace: "n" }), 1);
  t.equal(await kv.del("a"), 1);
  t.equal(await kv.del("a"), 0);
  await kv.put("from ts", "é");
  const python = await runPython(
    [
      "-c",
      "import polyray as ray; from polyray.experimental.internal_kv import _internal_kv_get as g, _internal_kv_put as p\n" +
        "ray.init(); print(g('from ts').decode()); p('from py', b'\\x00')",
    ],
    { POLYRAY_ADDRESS: runtime.address },
  );
  t.equal(python.out.trim(), "é", python.err);
  t.same(await kv.get("from py"), Uint8Array.of(0));
  t.equal((await rejection(kv.put(7 as never, "x"))).code, "INVALID_OPTION");
  t.equal((await rejection(kv.put("x", undefined as never))).code, "UNSERIALIZABLE");
  t.equal((await rejection(kv.get("x", { ns: "y" } as never))).code, "INVALID_OPTION");
});

t.test("metrics of all processes of both languages are one", async (t) => {
  const requests = new Counter("requests", {
    description: "How many",
    tagKeys: ["route"],
    defaultTags: { route: "/" },
  });
  const latency = new Histogram("latency", { boundaries: [0.1, 1], tagKeys: ["k"] });
  requests.inc();
  requests.inc(2, { route: '/a "b"' });
  new Gauge("depth").set(-3.5);
  latency.observe(0.1, { k: "v" });
  const work = remote(function work(times: number): void {
    for (let i = 0; i < times; i++) requests.inc();
    latency.observe(5, { k: "v" });
  });
  await get([work.remote(10), work.remote(20)]);
  await get(pyFunction<[number], null>("mixed_side", "count_requests").remote(100));
  let text = "";
  await until(async () => {
    text = await metricsText();
    return text.includes('polyray_requests{route="/"} 131');
  }, "the sum of all processes");
  for (const line of [
    "# HELP polyray_requests How many",
    "# TYPE polyray_requests counter",
    'polyray_requests{route="/a \\"b\\""} 2',
    "polyray_depth -3.5",
    "# TYPE polyray_latency histogram",
    'polyray_latency_bucket{k="v",le="0.1"} 1',
    'polyray_latency_bucket{k="v",le="1"} 1',
    'polyray_latency_bucket{k="v",le="+Inf"} 3',
    'polyray_latency_count{k="v"} 3',
    'polyray_latency_sum{k="v"} 10.1',
  ])
    t.ok(text.split("\n").includes(line), line);
  for (const [call, words] of [
    [() => requests.inc(0), /only grows/],
    [() => requests.inc(1, { no: "x" }), /has no tag "no"/],
    [() => latency.observe(1), /needs a value for its tag "k"/],
    [() => requests.inc("1" as never), /finite numbers/],
    [() => new Counter("1a"), /the name of a metric/],
    [() => new Counter("latency_count"), /the metric latency would both write lines/],
    [
      () => new Histogram("depth_is", { boundaries: [1] }) && new Gauge("depth_is_sum"),
      /depth_is /,
    ],
    [() => new Counter("a", { tagKeys: "x" } as never), /tagKeys/],
    [() => new Counter("a", { tags: [] } as never), /tags/],
    [() => new Histogram("h", {} as never), /needs boundaries/],
    [() => new Histogram("h", { boundaries: [1, 1] }), /rising/],
    [() => requests.setDefaultTags({ no: "x" }), /has no tag/],
  ] as const) {
    const error = thrown(call);
    t.equal(error.code, "INVALID_OPTION");
    t.match(error.message, words);
  }
});

t.test(
  "the runtime's own counters are among them, and served over HTTP where asked for",
  async (t) => {
    const url = String(runtime.metricsUrl);
    const answer = await fetch(url);
    t.equal(answer.status, 200);
    t.match(answer.headers.get("content-type"), /text\/plain; version=0\.0\.4/);
    const text = await answer.text();
    const value = (name: string): number =>
      Number(
        text
          .split("\n")
          .find((line) => line.startsWith(`${name} `))
          ?.split(" ")[1],
      );
    t.ok(
      value('polyray_calls_submitted_total{role="driver",language="typescript",kind="task"}') >=
        306,
    );
    t.ok(
      value('polyray_calls_run_total{role="worker",language="typescript",state="FINISHED"}') >= 302,
    );
    t.ok(value('polyray_calls_run_total{role="worker",language="typescript",state="FAILED"}') >= 1);
    t.equal(
      value('polyray_resources{name="CPU",state="USED"}') +
        value('polyray_resources{name="CPU",state="AVAILABLE"}'),
      2,
    );
    t.equal(value("polyray_nodes"), 1);
    t.ok(value("polyray_object_store_used_bytes") >= 400_000);
    t.ok(value('polyray_bells_rung_total{role="driver",language="typescript"}') > 0);
    for (const line of text.trim().split("\n"))
      t.match(line, /^(# (HELP|TYPE) polyray_\w+ .+|polyray_\w+(\{[^}]*\})? -?[\d.e+-]+)$/);
    t.equal((await fetch(url.replace("/metrics", "/other"))).status, 404);
    t.equal((await fetch(url, { method: "POST" })).status, 405);
    const error = await rejection(init({ metricsPort: -1, ignoreReinitError: true }));
    t.match(error.message, /metricsPort/);
  },
);
