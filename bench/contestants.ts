// SPDX-License-Identifier: Apache-2.0
//
// How each contestant is started: its program of rows, its program for the start, and the rows
// that it has.

import { delimiter, join } from "node:path";
import type { Program } from "./child.ts";
import { places } from "./install.ts";
import type { Contestant } from "./options.ts";
import { arrowRows, daskRows, nodeRows, type Row, startRow } from "./table.ts";

/** Rows that a TypeScript driver with Python workers has. */
const acrossRows: readonly string[] = [
  "single client tasks and get batch",
  "single client tasks sync",
  "single client tasks async",
  "1:1 actor calls sync",
  "1:1 actor calls async",
  "1:1 actor calls concurrent",
  "1:1 async-actor calls sync",
  "1:1 async-actor calls async",
  "1:1 async-actor calls with args async",
  ...arrowRows,
];
const bench = (...parts: string[]) => join(places.root, "bench", ...parts);
const js = (...parts: string[]) => join(places.js, ...parts);

const quiet = { PYTHONUNBUFFERED: "1", PYTHONDONTWRITEBYTECODE: "1" };
// Ray writes a token into the home folder, and would report its usage.
const rayEnv = {
  ...quiet,
  HOME: places.work,
  RAY_TMPDIR: places.raySessions,
  RAY_USAGE_STATS_ENABLED: "0",
};
const pythonPath = [bench("python"), process.env["PYTHONPATH"] ?? ""]
  .filter(Boolean)
  .join(delimiter);

const rowPrograms: Readonly<Record<Contestant, Program>> = {
  ray: {
    command: places.rayPython,
    args: [bench("python", "rows.py"), "--module", "ray"],
    env: rayEnv,
  },
  "polyray-py": {
    command: places.python,
    args: [bench("python", "rows.py"), "--module", "polyray"],
    env: quiet,
  },
  dask: { command: places.daskPython, args: [bench("python", "dask_rows.py")], env: rayEnv },
  "polyray-ts": { command: process.execPath, args: ["--expose-gc", js("ts", "rows.js")] },
  "polyray-ts-py": {
    command: process.execPath,
    args: [js("ts", "python-rows.js")],
    env: { ...quiet, PYTHONPATH: pythonPath, POLYRAY_PYTHON: places.python },
  },
  postmessage: nodePeer("postmessage"),
  piscina: nodePeer("piscina"),
  tinypool: nodePeer("tinypool"),
};

const startPrograms: Partial<Record<Contestant, Program>> = {
  ray: { ...rowPrograms.ray, args: [bench("python", "startup.py"), "--module", "ray"] },
  "polyray-py": {
    ...rowPrograms["polyray-py"],
    args: [bench("python", "startup.py"), "--module", "polyray"],
  },
  dask: { ...rowPrograms.dask, args: [...rowPrograms.dask.args, "--start"] },
  "polyray-ts": { command: process.execPath, args: [js("ts", "startup.js")] },
};

// Numbers of objects are what is measured, not the moment at which garbage is collected.
const growthPrograms: Partial<Record<Contestant, Program>> = {
  "polyray-py": {
    ...rowPrograms["polyray-py"],
    args: [bench("python", "growth.py"), "--module", "polyray"],
  },
  "polyray-ts": { command: process.execPath, args: ["--expose-gc", js("ts", "growth.js")] },
};

function nodePeer(name: string): Program {
  const args = [js("peers", "node-rows.js"), "--peer", name, "--packages", places.work];
  return { command: process.execPath, args };
}

/** The program of rows of a contestant. */
export const rowProgram = (contestant: Contestant): Program => rowPrograms[contestant];

/** The program that measures the start; null when the contestant has none. */
export const startProgram = (contestant: Contestant): Program | null =>
  startPrograms[contestant] ?? null;

/** The program of growth curves; null when the contestant has none. */
export const growthProgram = (contestant: Contestant): Program | null =>
  growthPrograms[contestant] ?? null;

/** What of the rows asked for a contestant runs in its program of rows. */
export function rowsOf(contestant: Contestant, asked: readonly Row[]): readonly string[] {
  const names = asked.map(({ name }) => name).filter((name) => name !== startRow);
  if (contestant === "dask") return names.filter((name) => daskRows.includes(name));
  if (contestant === "polyray-ts-py") return names.filter((name) => acrossRows.includes(name));
  if (contestant === "polyray-ts") {
    return names.filter((name) => !arrowRows.includes(name as never));
  }
  if (contestant === "ray" || contestant === "polyray-py") return names;
  return nodeRows
    .filter(({ task, actor }) => names.includes(task) || names.includes(actor))
    .map(({ name }) => name);
}
