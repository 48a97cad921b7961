// SPDX-License-Identifier: Apache-2.0
//
// A TypeScript driver with Python workers: the calls of Ray's microbenchmark that cross the
// languages, and a table that goes to Python and comes back.

import { Float64, makeVector, Table } from "apache-arrow";
import {
  type ActorHandle,
  get,
  init,
  kill,
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

const smallValue = pyFunction<[], Uint8Array>(module, "small_value");
const same = pyFunction<[Table], Table>(module, "same");
const server = pyActor<PythonServer>(module, "Server");
const asyncServer = pyActor<PythonServer>(module, "AsyncServer");

type Handle = ActorHandle<PythonServer>;

function oneToOne(
  actor: Handle,
  call: (actor: Handle) => Promise<unknown>,
  weight: number,
): Prepared {
  return { call: () => call(actor), weight, end: () => kill(actor) };
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
  "112 MB Arrow table there and back": () => {
    const column = makeVector({
      type: new Float64(),
      data: new Float64Array(14_000_000).map((_, i) => i),
    });
    const table = new Table({ x: column });
    const call = async () => {
      const back = await get(same.remote(table));
      if (back.numRows !== table.numRows) throw new Error(`${back.numRows} rows came back`);
      release(back);
    };
    return { call, weight: 1 };
  },
};

await init();
emit("ready", { version });
await runRows(bodies, rowOptions());
await shutdown();
emit("end");
