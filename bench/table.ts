// SPDX-License-Identifier: Apache-2.0
//
// The rows of the benchmark: names, goals and watchdogs. Goals are ratios to the peer measured in
// the same run; the names are those of bench/python/rows.py and bench/ts/rows.ts.

/** How a row's figure reads. */
export type Unit = "/s" | "GB/s" | "ms" | "B";

/** Units of figures that are better when they are smaller. */
export const smallerIsBetter = (unit: Unit): boolean => unit === "ms" || unit === "B";

/** One row against Ray. */
export interface Row {
  readonly name: string;
  readonly unit: Unit;
  /** Ratio to Ray that we want: Python and Python, TypeScript and TypeScript. */
  readonly pyGoal: number | null;
  readonly tsGoal: number | null;
}

/** The row that needs a fresh process for each figure. */
export const startRow = "init() to the first result of a task";

/** The row that counts bytes of all processes. First of all: a heap that grew before would hide it. */
export const memoryRow = "memory of a queued task";

/** Rows of one call at a time, whose single calls are timed. */
export const latencyRows = [
  "single client tasks sync",
  "1:1 actor calls sync",
  "1:1 async-actor calls sync",
  "sync round trips",
] as const;

/** What Dask distributed has of the rows (bench/python/dask_rows.py). */
export const daskRows: readonly string[] = [
  memoryRow,
  "single client get calls",
  "single client put calls",
  "single client put gigabytes",
  "single client tasks and get batch",
  "wait 1k refs",
  "single client tasks sync",
  "single client tasks async",
  "1:1 actor calls sync",
  "1:1 actor calls async",
  startRow,
];

/** The rows that need a Python worker on the other side. */
export const arrowRows = [
  "112 MB Arrow table put, there and back",
  "112 MB Arrow table as argument, there and back",
] as const;

/** A put on memory that was used before and on memory of first use; the last row is the limit of both. */
export const putRows = [
  "put of 100 MB on memory used before",
  "put of 100 MB on memory never used",
  "memcpy of 100 MB",
] as const;

const row = (
  name: string,
  pyGoal: number | null,
  tsGoal: number | null,
  unit: Unit = "/s",
): Row => ({
  name,
  unit,
  pyGoal,
  tsGoal,
});

/** The rows against Ray, in the order in which they run. */
export const rows: readonly Row[] = [
  row(memoryRow, null, null, "B"),
  row("single client get calls", 30, 50),
  row("single client put calls", 80, 100),
  row("multi client put calls", 80, 100),
  row("single client put gigabytes", 3, 3, "GB/s"),
  row("multi client put gigabytes", 1, 1, "GB/s"),
  ...putRows.map((name) => row(name, null, null, "GB/s")),
  row("single client tasks and get batch", 20, 40),
  row("get object containing 10k refs", 20, 30),
  row("wait 1k refs", 15, 40),
  row("single client tasks sync", 40, 60),
  row("single client tasks async", 25, 60),
  row("multi client tasks async", 20, 50),
  row("1:1 actor calls sync", 20, 40),
  row("1:1 actor calls async", 15, 60),
  row("1:1 actor calls concurrent", 12, 50),
  row("1:n actor calls async", 12, 50),
  row("n:n actor calls async", 15, 50),
  row("n:n actor calls with arg async", 20, 60),
  row("1:1 async-actor calls sync", 20, 50),
  row("1:1 async-actor calls async", 12, 60),
  row("1:1 async-actor calls with args async", 15, 60),
  ...arrowRows.map((name) => row(name, null, null)),
  row(startRow, 10, 30, "ms"),
];

/** The rows of bench/peers/node-rows.ts, and the rows of ours that do the same job. */
export const nodeRows = [
  {
    name: "sync round trips",
    task: "single client tasks sync",
    actor: "1:1 actor calls sync",
    goal: 1.5,
  },
  {
    name: "pipelined",
    task: "single client tasks async",
    actor: "1:1 actor calls async",
    goal: 3,
  },
] as const;

/** Rows whose name contains one of `wanted`; all when there is none. */
export function selectRows(wanted: readonly string[]): readonly Row[] {
  if (wanted.length === 0) return rows;
  const exact = rows.filter(({ name }) => wanted.includes(name));
  const rest = wanted.filter((one) => !exact.some(({ name }) => name === one));
  return rows.filter((one) => exact.includes(one) || rest.some((part) => one.name.includes(part)));
}
