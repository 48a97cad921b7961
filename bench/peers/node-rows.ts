// SPDX-License-Identifier: Apache-2.0
//
// What a Node program would use instead: one round trip at a time and many in flight, by
// postMessage to a worker thread, by Piscina and by Tinypool. Nothing is isolated there: these are
// threads of one process. The packages lie in a folder of their own (--packages).

import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { type Body, emit, runRows } from "../ts/harness.ts";

/** Runs the worker's function once. */
type Call = () => Promise<unknown>;

interface Peer {
  readonly version: string;
  readonly call: Call;
  readonly close: () => Promise<unknown>;
}

interface Pool {
  run(value: unknown): Promise<unknown>;
  destroy(): Promise<void>;
}
type PoolClass = new (options: Record<string, unknown>) => Pool;

const batch = 1_000;
const threads = availableParallelism();
const poolOptions = {
  filename: new URL("./echo-task.js", import.meta.url).href,
  minThreads: threads,
  maxThreads: threads,
};

function postMessagePeer(): Peer {
  const worker = new Worker(new URL("./echo-thread.js", import.meta.url));
  const waiting = new Map<number, (value: unknown) => void>();
  let next = 0;
  worker.on("message", ({ id, value }: { id: number; value: unknown }) => {
    waiting.get(id)?.(value);
    waiting.delete(id);
  });
  const call = () =>
    new Promise<unknown>((resolve) => {
      waiting.set(++next, resolve);
      worker.postMessage({ id: next, value: null });
    });
  return { version: process.version, call, close: () => worker.terminate() };
}

async function poolPeer(name: "piscina" | "tinypool", packages: string): Promise<Peer> {
  const require = createRequire(join(packages, "package.json"));
  const entry =
    name === "piscina"
      ? require.resolve(name)
      : join(packages, "node_modules", name, "dist/index.js");
  const module = (await import(entry)) as Record<string, unknown>;
  const found = module["Piscina"] ?? module["Tinypool"] ?? module["default"];
  const { version } = require(join(packages, "node_modules", name, "package.json")) as {
    version: string;
  };
  const pool = new (found as PoolClass)(poolOptions);
  return { version, call: () => pool.run(null), close: () => pool.destroy() };
}

const { values } = parseArgs({
  options: {
    peer: { type: "string", default: "postmessage" },
    packages: { type: "string", default: "." },
    rows: { type: "string", default: "[]" },
    "warmup-s": { type: "string", default: "1" },
    "window-s": { type: "string", default: "2" },
    quick: { type: "boolean", default: false },
    "latency-rows": { type: "string", default: "[]" },
  },
});

const peer =
  values.peer === "piscina" || values.peer === "tinypool"
    ? await poolPeer(values.peer, values.packages)
    : postMessagePeer();

const bodies: Record<string, Body> = {
  "sync round trips": () => ({ call: peer.call, weight: 1 }),
  pipelined: () => ({
    call: () => Promise.all(Array.from({ length: batch }, peer.call)),
    weight: batch,
  }),
};

await peer.call();
emit("ready", { version: peer.version });
await runRows(bodies, {
  rows: JSON.parse(values.rows) as string[],
  warmupS: Number(values["warmup-s"]),
  windowS: Number(values["window-s"]),
  scale: { large: 0, middle: 0 },
  latencyRows: JSON.parse(values["latency-rows"]) as string[],
});
await peer.close();
emit("end");
