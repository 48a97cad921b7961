// SPDX-License-Identifier: Apache-2.0
//
// The rows of Ray's microbenchmark in TypeScript: driver and workers. The same jobs, batch sizes
// and resources as bench/python/rows.py, where the comparison with Ray is made.
//
// A put's ref is disposed of by name: nothing else ends it before the garbage collector runs,
// while Python's and Ray's refs end at once.

import { rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ActorHandle,
  get,
  init,
  kill,
  type ObjectRef,
  put,
  remote,
  shutdown,
  version,
  wait,
} from "polyray";
import { askUsage, type Body, emit, type Prepared, rowOptions, runRows } from "./harness.ts";
import {
  AsyncServer,
  Client,
  callActors,
  hold,
  manyRefs,
  putArrays,
  putSmallValues,
  Server,
  smallValue,
  times,
} from "./remote.ts";

const batch = 1_000;
/** As in bench/python/rows.py. */
const putBytes = 100_000_000;
const submitters = 4;
const queued = 10_000;
const peersOfCpus = Math.max(1, Math.floor(availableParallelism() / 2));

const server = remote(Server);
const asyncServer = remote(AsyncServer, { maxConcurrency: 1_000 });
const client = remote(Client);

const end = (...actors: ActorHandle<unknown>[]) => Promise.all(actors.map((actor) => kill(actor)));

async function waitForAll(): Promise<void> {
  let notReady = times(batch, () => smallValue.remote());
  while (notReady.length > 0) ({ notReady } = await wait(notReady));
}

/** One caller and one actor: a call at a time, or a batch in flight. */
function oneToOne<T>(
  actor: ActorHandle<T>,
  call: (actor: ActorHandle<T>) => Promise<unknown>,
  weight: number,
): Prepared {
  return { call: () => call(actor), weight, end: () => end(actor) };
}

/** Bytes of all processes that each of many queued tasks adds. */
async function queuedTaskBytes(): Promise<number> {
  const gate = join(tmpdir(), `polyray-rows-${process.pid}`);
  const waiting = times(availableParallelism(), () => hold.remote(gate));
  await get(smallValue.options({ numCpus: 0 }).remote());
  const before = await askUsage();
  const refs = times(queued, () => smallValue.remote());
  const bytes = (await askUsage()) - before;
  writeFileSync(gate, "");
  await get(refs);
  await get(waiting);
  rmSync(gate);
  return bytes / queued;
}

const bodies: Record<string, Body> = {
  "memory of a queued task": queuedTaskBytes,
  "single client get calls": () => {
    const value = put(0);
    return { call: () => get(value), weight: 1 };
  },
  "single client put calls": () => ({ call: () => put(0)[Symbol.dispose](), weight: 1 }),
  "multi client put calls": () => ({
    call: () => get(times(10, () => putSmallValues.remote())),
    weight: 1_000,
  }),
  "single client put gigabytes": () => {
    const array = new Float64Array(100 * 1024 * 1024);
    return { call: () => put(array)[Symbol.dispose](), weight: 8 * 0.1 };
  },
  "multi client put gigabytes": () => ({
    call: () => get(times(10, () => putArrays.remote())),
    weight: 10 * 8 * 0.1,
  }),
  "put of 100 MB on memory used before": () => {
    const array = new Uint8Array(putBytes).fill(1);
    return { call: () => put(array)[Symbol.dispose](), weight: putBytes / 1e9 };
  },
  "put of 100 MB on memory never used": async () => {
    const array = new Uint8Array(putBytes).fill(1);
    await sleep(8_000); // idle pages go back to the system after 5 s
    const refs: ObjectRef<Uint8Array>[] = [];
    const seconds = times(8, () => {
      const start = performance.now();
      refs.push(put(array));
      return (performance.now() - start) / 1000;
    }).sort((a, b) => a - b);
    for (const ref of refs) ref[Symbol.dispose]();
    return putBytes / 1e9 / (((seconds[3] as number) + (seconds[4] as number)) / 2);
  },
  "memcpy of 100 MB": () => {
    const array = new Uint8Array(putBytes).fill(1);
    const target = new Uint8Array(putBytes).fill(2);
    return { call: () => target.set(array), weight: putBytes / 1e9 };
  },
  "single client tasks and get batch": () => ({
    call: () => get(times(batch, () => smallValue.remote())),
    weight: 1,
  }),
  "get object containing 10k refs": () => {
    const container = manyRefs.remote();
    return { call: () => get(container), weight: 1 };
  },
  "wait 1k refs": () => ({ call: waitForAll, weight: 1 }),
  "single client tasks sync": () => ({ call: () => get(smallValue.remote()), weight: 1 }),
  "single client tasks async": () => ({
    call: () => get(times(batch, () => smallValue.remote())),
    weight: batch,
  }),
  "multi client tasks async": ({ large }) => {
    const servers = times(submitters, () => server.remote());
    return {
      call: () => get(servers.map((one) => one.smallValueBatch.remote(large))),
      weight: large * submitters,
      end: () => end(...servers),
    };
  },
  "1:1 actor calls sync": () => oneToOne(server.remote(), (a) => get(a.smallValue.remote()), 1),
  "1:1 actor calls async": () =>
    oneToOne(server.remote(), (a) => get(times(batch, () => a.smallValue.remote())), batch),
  "1:1 actor calls concurrent": () =>
    oneToOne(
      server.options({ maxConcurrency: 16 }).remote(),
      (a) => get(times(batch, () => a.smallValue.remote())),
      batch,
    ),
  "1:n actor calls async": ({ middle }) => {
    const servers = times(peersOfCpus, () => server.remote());
    const caller = client.remote(servers);
    return {
      call: () => get(caller.smallValueBatch.remote(middle)),
      weight: middle * servers.length,
      end: () => end(caller, ...servers),
    };
  },
  "n:n actor calls async": ({ middle }) => {
    const servers = times(peersOfCpus, () => server.remote());
    return {
      call: () => get(times(submitters, () => callActors.remote(servers, middle))),
      weight: middle * submitters,
      end: () => end(...servers),
    };
  },
  "n:n actor calls with arg async": () => {
    const n = 1_000;
    const servers = times(peersOfCpus, () => server.remote());
    const callers = servers.map((one) => client.remote([one]));
    return {
      call: () => get(callers.map((one) => one.smallValueBatchArg.remote(n))),
      weight: n * callers.length,
      end: () => end(...callers, ...servers),
    };
  },
  "1:1 async-actor calls sync": () =>
    oneToOne(asyncServer.remote(), (a) => get(a.smallValue.remote()), 1),
  "1:1 async-actor calls async": () =>
    oneToOne(asyncServer.remote(), (a) => get(times(batch, () => a.smallValue.remote())), batch),
  "1:1 async-actor calls with args async": () =>
    oneToOne(
      asyncServer.remote(),
      (a) => get(times(batch, (i) => a.smallValueWithArg.remote(i))),
      batch,
    ),
};

await init();
emit("ready", { version });
await runRows(bodies, rowOptions());
await shutdown();
emit("end");
