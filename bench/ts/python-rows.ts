// SPDX-License-Identifier: Apache-2.0
//
// A TypeScript driver with Python workers: the calls of Ray's microbenchmark that cross the
// languages, and a table that goes to Python and comes back.

import { readFileSync } from "node:fs";
import { Float64, makeVector, Table } from "apache-arrow";
import {
  type ActorHandle,
  get,
  init,
  kill,
  put,
  pyActor,
  pyFunction,
  release,
  shutdown,
  version,
} from "polyray";
import { type Body, emit, type Prepared, rowOptions, runRows } from "./harness.ts";
import { times } from "./remote.ts";

const batch = 1_000;
const module = "bench_workers";

interface PythonServer {
  small_value(): Uint8Array;
  small_value_with_arg(value: unknown): Uint8Array;
}

interface PythonMirror {
  same(table: Table): Table;
  anonymous_kb(): number;
}

const smallValue = pyFunction<[], Uint8Array>(module, "small_value");
const server = pyActor<PythonServer>(module, "Server");
const mirror = pyActor<PythonMirror>(module, "Mirror");
const asyncServer = pyActor<PythonServer>(module, "AsyncServer");

type Handle = ActorHandle<PythonServer>;

function oneToOne(
  actor: Handle,
  call: (actor: Handle) => Promise<unknown>,
  weight: number,
): Prepared {
  return { call: () => call(actor), weight, end: () => kill(actor) };
}

/** A table that goes to a Python actor and comes back; tells how private memory grew meanwhile. */
async function arrow(
  call: (handle: ActorHandle<PythonMirror>, table: Table) => Promise<Table>,
  row: string,
): Promise<Prepared> {
  const data = new Float64Array(14_000_000).map((_, index) => index);
  const table = new Table({ x: makeVector({ type: new Float64(), data }) });
  const handle = mirror.remote();
  const once = async () => {
    const back = await call(handle, table);
    if (back.numRows !== table.numRows) throw new Error(`${back.numRows} rows came back`);
    release(back);
  };
  await once();
  const before = { driver: anonymousKb(), worker: await get(handle.anonymous_kb.remote()) };
  const end = async () => {
    const driverMb = (anonymousKb() - before.driver) / 1024;
    const workerMb = ((await get(handle.anonymous_kb.remote())) - before.worker) / 1024;
    const text = `private memory grew by ${driverMb.toFixed(1)} MB in the driver, ${workerMb.toFixed(1)} MB in the worker`;
    emit("note", { row, text });
    await kill(handle);
  };
  return { call: once, weight: 1, end };
}

/** Memory of this process that is nobody else's. */
function anonymousKb(): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

const bodies: Record<string, Body> = {
  "single client tasks and get batch": () => ({
    call: () => get(times(batch, () => smallValue.remote())),
    weight: 1,
  }),
  "single client tasks sync": () => ({ call: () => get(smallValue.remote()), weight: 1 }),
  "single client tasks async": () => ({
    call: () => get(times(batch, () => smallValue.remote())),
    weight: batch,
  }),
  "1:1 actor calls sync": () => oneToOne(server.remote(), (a) => get(a.small_value.remote()), 1),
  "1:1 actor calls async": () =>
    oneToOne(server.remote(), (a) => get(times(batch, () => a.small_value.remote())), batch),
  "1:1 actor calls concurrent": () =>
    oneToOne(
      server.options({ maxConcurrency: 16 }).remote(),
      (a) => get(times(batch, () => a.small_value.remote())),
      batch,
    ),
  "1:1 async-actor calls sync": () =>
    oneToOne(asyncServer.remote(), (a) => get(a.small_value.remote()), 1),
  "1:1 async-actor calls async": () =>
    oneToOne(asyncServer.remote(), (a) => get(times(batch, () => a.small_value.remote())), batch),
  "1:1 async-actor calls with args async": () =>
    oneToOne(
      asyncServer.remote(),
      (a) => get(times(batch, (i) => a.small_value_with_arg.remote(i))),
      batch,
    ),
  "112 MB Arrow table put, there and back": () =>
    arrow((handle, table) => {
      using ref = put(table);
      return get(handle.same.remote(ref));
    }, "112 MB Arrow table put, there and back"),
  "112 MB Arrow table as argument, there and back": () =>
    arrow(
      (handle, table) => get(handle.same.remote(table)),
      "112 MB Arrow table as argument, there and back",
    ),
};

await init();
emit("ready", { version });
await runRows(bodies, rowOptions());
await shutdown();
emit("end");
