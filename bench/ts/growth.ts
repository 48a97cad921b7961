// SPDX-License-Identifier: Apache-2.0
//
// What a unit of work costs as the load grows: queued tasks and actor calls, tasks that wait for one
// ref, actors, live objects, sizes of objects. bench/python/growth.py does the same in Python; the
// driver of both is bench/growth.ts, which gives the loads.

import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  get,
  init,
  kill,
  type ObjectRef,
  put,
  release,
  remote,
  shutdown,
  version,
  wait,
} from "polyray";
import { askUsage, emit } from "./harness.ts";
import { Counter, hold, same, smallValue, times } from "./remote.ts";

type Row = (load: number) => Promise<Costs>;
/** Cost of one unit by curve: microseconds, bytes for curves named "memory". */
type Costs = Record<string, number>;

const counter = remote(Counter);
const gate = join(tmpdir(), `polyray-gate-${process.pid}`);
const cpus = 2;
/** Below, the steps in which memory is taken outweigh what a unit takes. */
const memoryFrom = 10_000;
/** Bytes; smaller values are copied by a get. */
const inPlace = 2 ** 16;
/** Gets of one object that are timed, spread over all: enough for a full collection to be a part of many. */
const gets = 50_000;

const now = () => performance.now() * 1_000;

async function memory(): Promise<number> {
  globalThis.gc?.();
  return askUsage();
}

/** Submits behind a closed gate, then opens it. `close` gives what waits at the gate. */
async function queued(
  load: number,
  close: () => ObjectRef<unknown>[],
  submit: () => ObjectRef<unknown>,
): Promise<Costs> {
  rmSync(gate, { force: true });
  const waiting = close();
  const before = load >= memoryFrom ? await memory() : 0;
  const start = now();
  const refs = times(load, submit);
  const submitted = now();
  const after = load >= memoryFrom ? await memory() : 0;
  const opened = now();
  writeFileSync(gate, "");
  await get(refs);
  const done = now();
  await get(waiting);
  for (const ref of refs) ref[Symbol.dispose]();
  return {
    submit: (submitted - start) / load,
    drain: (done - opened) / load,
    ...(load >= memoryFrom ? { memory: (after - before) / load } : {}),
  };
}

async function queuedCalls(load: number): Promise<Costs> {
  const actor = counter.remote();
  await get(actor.add.remote());
  const costs = await queued(
    load,
    () => [actor.hold.remote(gate)],
    () => actor.add.remote(),
  );
  await kill(actor);
  return costs;
}

/** Tasks whose argument is not there yet: one ref, sealed when all of them wait for it. */
async function dependents(load: number): Promise<Costs> {
  rmSync(gate, { force: true });
  const source = hold.remote(gate);
  const start = now();
  const refs = times(load, () => same.remote(source));
  const submitted = now();
  writeFileSync(gate, "");
  await get(refs);
  const done = now();
  for (const ref of refs) ref[Symbol.dispose]();
  return { submit: (submitted - start) / load, drain: (done - submitted) / load };
}

async function actors(load: number): Promise<Costs> {
  const before = await memory();
  const start = now();
  const handles = times(load, () => counter.options({ numCpus: 0 }).remote());
  await get(handles.map((handle) => handle.add.remote()));
  const started = now();
  const after = await memory();
  const rounds = Math.ceil(2_000 / load);
  const called = now();
  for (let i = 0; i < rounds; i++) await get(handles.map((handle) => handle.add.remote()));
  const done = now();
  await Promise.all(handles.map((handle) => kill(handle)));
  return {
    start: (started - start) / load,
    call: (done - called) / (rounds * load),
    memory: (after - before) / load,
  };
}

async function liveObjects(load: number): Promise<Costs> {
  const before = load >= memoryFrom ? await memory() : 0;
  const start = now();
  const refs = times(load, (i) => put(i));
  const stored = now();
  const after = load >= memoryFrom ? await memory() : 0;
  const step = Math.max(1, Math.floor(load / gets));
  const reading = now();
  for (let i = 0; i < gets; i++) await get(refs[(i * step) % load]!);
  const read = now();
  await get(refs);
  const all = now();
  await wait(refs, { numReturns: load });
  const waited = now();
  for (const ref of refs) ref[Symbol.dispose]();
  const released = now();
  return {
    put: (stored - start) / load,
    get: (read - reading) / gets,
    "get of a list": (all - read) / load,
    wait: (waited - all) / load,
    release: (released - waited) / load,
    ...(load >= memoryFrom ? { memory: (after - before) / load } : {}),
  };
}

/**
 * `load` bytes at a time; the cost of a put is that of a KiB, the cost of a get that of one get. A put's copy leaves the
 * processor's caches without our code. Another object is read in between, so that this is not counted as a cost of
 * get; all that the size could cost is.
 */
async function sizes(load: number): Promise<Costs> {
  const bytes = new Uint8Array(load).fill(7);
  const other = put(bytes.subarray(0, 2 * inPlace));
  const rounds = Math.max(3, Math.min(2_000, Math.floor(2 ** 31 / load)));
  const putCosts: number[] = [];
  const getCosts: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = now();
    const ref = put(bytes);
    const stored = now();
    for (let j = 0; j < 8; j++) release(await get(other));
    const asked = now();
    const back = (await get(ref)) as Uint8Array;
    getCosts.push(now() - asked);
    putCosts.push(((stored - start) * 1024) / load);
    if (back.byteLength !== load) throw new Error(`${back.byteLength} bytes came back`);
    release(back);
    ref[Symbol.dispose]();
    if (i % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  other[Symbol.dispose]();
  const read = load >= inPlace ? "get in place" : "get of a copy";
  return { "put of a KiB": middle(putCosts), [read]: middle(getCosts) };
}

const rows: Readonly<Record<string, Row>> = {
  "queued tasks": (load) =>
    queued(
      load,
      () => times(cpus, () => hold.remote(gate)),
      () => smallValue.remote(),
    ),
  "queued actor calls": queuedCalls,
  "tasks waiting for one ref": dependents,
  actors,
  "live objects": liveObjects,
  "object size": sizes,
};

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** The medians over several times the same load; of memory the most: later times reuse what the first one took. */
async function repeated(row: Row, load: number, times: number): Promise<Costs> {
  const all: Costs[] = [];
  for (let i = 0; i < times; i++) all.push(await row(load));
  const curves = Object.keys(all[0]!);
  const one = (curve: string) => {
    const found = all.map((costs) => costs[curve]!);
    return curve === "memory" ? Math.max(...found) : middle(found);
  };
  return Object.fromEntries(curves.map((curve) => [curve, one(curve)]));
}

const { values } = parseArgs({
  options: { plan: { type: "string", default: "[]" }, "store-bytes": { type: "string" } },
});
const plan = JSON.parse(values.plan) as {
  row: string;
  loads: { load: number; times: number }[];
}[];

await init({ numCpus: cpus, objectStoreMemory: Number(values["store-bytes"] ?? 2 ** 31) });
await get(times(cpus * 4, () => smallValue.remote()));
emit("ready", { version });
for (const { row, loads } of plan) {
  emit("begin", { row });
  try {
    for (const { load, times } of loads) {
      const costs = await repeated(rows[row]!, load, times);
      emit("point", { row, load, costs });
    }
    emit("result", { row, value: loads.length });
  } catch (error) {
    console.error(error);
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    emit("failed", { row, error: text.split("\n", 1)[0]?.slice(0, 300) });
  }
}
await shutdown();
rmSync(gate, { force: true });
emit("end");
