// SPDX-License-Identifier: Apache-2.0
//
// `npm run bench -- --growth`: what a unit of work costs as the load grows. The loads and the rule
// are here; the work is in bench/ts/growth.ts and bench/python/growth.py.
//
// The rule: the cost of a unit at the largest load is at most a quarter above that at the smallest,
// and no row grows worse than linearly: over its upper loads the whole cost rises with the load to
// the power of at most 1.15 (a twentieth for noise of each of three points).

import { totalmem } from "node:os";
import { BenchChild, type Program } from "./child.ts";

/** A row of the growth run and its loads. */
export interface GrowthRow {
  readonly name: string;
  /** What a load counts. */
  readonly of: "units" | "bytes";
  readonly loads: readonly number[];
  /** The largest load of `--quick`. */
  readonly quickTo: number;
  /** The largest load that is run several times, with the median taken. */
  readonly repeatTo: number;
}

/** One measured load: costs of a unit by curve, microseconds; bytes for "memory". */
export interface GrowthPoint {
  readonly load: number;
  readonly costs: Readonly<Record<string, number>>;
}

/** What came of a row for one contestant. */
export interface Growth {
  readonly contestant: string;
  readonly row: string;
  readonly points: readonly GrowthPoint[];
  readonly failed: string | null;
}

/** One curve of a row and whether it keeps the rule. */
export interface Curve {
  readonly contestant: string;
  readonly row: string;
  readonly curve: string;
  readonly points: readonly { readonly load: number; readonly cost: number }[];
  /** The cost at the largest load over that at the smallest. */
  readonly rise: number;
  /** The power of the load with which the whole cost grows over the last loads; 1 is linear. */
  readonly power: number;
  readonly keeps: boolean;
}

const maxRise = 1.25;
const maxPower = 1.15;
const powerPoints = 3;

const decades = (from: number, to: number): number[] => {
  const found: number[] = [];
  for (let load = from; load <= to; load *= 10) found.push(load);
  return found;
};
const powersOfTwo = (...powers: number[]): number[] => powers.map((power) => 2 ** power);

/** The rows, in the order in which they run. */
export const growthRows: readonly GrowthRow[] = [
  { name: "queued tasks", of: "units", loads: decades(1, 1e6), quickTo: 1e4, repeatTo: 1e4 },
  { name: "queued actor calls", of: "units", loads: decades(1, 1e6), quickTo: 1e4, repeatTo: 1e4 },
  {
    name: "tasks waiting for one ref",
    of: "units",
    loads: decades(1, 1e5),
    quickTo: 1e4,
    repeatTo: 1e4,
  },
  { name: "actors", of: "units", loads: [1, 3, 10, 30, 100], quickTo: 10, repeatTo: 10 },
  { name: "live objects", of: "units", loads: decades(1e3, 1e6), quickTo: 1e5, repeatTo: 1e5 },
  {
    name: "object size",
    of: "bytes",
    // A Buffer of Node 20 ends at 4 GiB, with what lies around the bytes.
    loads: [...powersOfTwo(10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 31), 2 ** 32 - 2 ** 20],
    quickTo: 2 ** 24,
    repeatTo: 0,
  },
];

/** Rows whose name contains one of `wanted`; all when there is none. */
export const selectGrowth = (wanted: readonly string[]): readonly GrowthRow[] =>
  growthRows.filter(
    ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
  );

const repeats = 5;
const watchdogS = 180;

/** The store that the largest object needs; a fifth of the machine at most. */
const storeBytes = (rows: readonly GrowthRow[], quick: boolean): number => {
  const big = rows.some(({ of }) => of === "bytes") && !quick;
  return big ? Math.min(6 * 2 ** 30, totalmem() / 3) : 2 * 2 ** 30;
};

/** What the program is told: its rows with their loads. */
export function growthPlan(
  rows: readonly GrowthRow[],
  quick: boolean,
  store: number,
): { row: string; loads: { load: number; times: number }[] }[] {
  return rows.map(({ name, of, loads, quickTo, repeatTo }) => ({
    row: name,
    loads: loads
      .filter((load) => (!quick || load <= quickTo) && (of !== "bytes" || load < store))
      .map((load) => ({ load, times: load <= repeatTo ? repeats : 1 })),
  }));
}

/** Runs the rows in one contestant's program, each row in a process of its own. */
export async function runGrowth(
  contestant: string,
  program: Program,
  rows: readonly GrowthRow[],
  quick: boolean,
): Promise<readonly Growth[]> {
  const found: Growth[] = [];
  for (const row of rows) found.push(await runRow(contestant, program, row, quick));
  return found;
}

async function runRow(
  contestant: string,
  program: Program,
  row: GrowthRow,
  quick: boolean,
): Promise<Growth> {
  const store = storeBytes([row], quick);
  const plan = JSON.stringify(growthPlan([row], quick, store));
  const args = [...program.args, "--plan", plan, "--store-bytes", `${store}`];
  const points: GrowthPoint[] = [];
  let failed: string | null = null;
  let ended = false;
  const child = new BenchChild({ ...program, args }, (event, self) => {
    self.watch(watchdogS);
    if (event.event === "point") points.push(event as unknown as GrowthPoint);
    if (event.event === "failed") failed = String(event["error"]);
    if (event.event === "end") ended = true;
  });
  child.watch(watchdogS);
  await child.ended;
  if (!ended && failed === null) {
    failed = `${child.timedOut ? "no result in time (watchdog)" : `its process ${child.exitText}`}; ${child.lastWords}`;
  }
  const plain = points.map(({ load, costs }) => ({ load, costs }));
  return { contestant, row: row.name, points: plain, failed };
}

/** The curves of what was measured, each judged by the rule. */
export function curves(growth: readonly Growth[]): readonly Curve[] {
  return growth.flatMap(({ contestant, row, points }) => {
    const names = [...new Set(points.flatMap(({ costs }) => Object.keys(costs)))];
    return names.map((curve) => {
      const own = points.flatMap(({ load, costs }) => {
        const cost = costs[curve];
        return cost === undefined ? [] : [{ load, cost }];
      });
      const rise = own.at(-1)!.cost / own[0]!.cost;
      const power = growthPower(own.slice(-powerPoints));
      const keeps = !(rise > maxRise) && !(power > maxPower);
      return { contestant, row, curve, points: own, rise, power, keeps };
    });
  });
}

/** The slope of log(load x cost) over log(load), by least squares; 1 when there are fewer than two points. */
export function growthPower(
  points: readonly { readonly load: number; readonly cost: number }[],
): number {
  const logs = points
    .filter(({ cost }) => cost > 0)
    .map(({ load, cost }) => [Math.log(load), Math.log(load * cost)] as const);
  if (logs.length < 2) return 1;
  const mean = (pick: 0 | 1) => logs.reduce((sum, point) => sum + point[pick], 0) / logs.length;
  const [x0, y0] = [mean(0), mean(1)];
  const above = logs.reduce((sum, [x, y]) => sum + (x - x0) * (y - y0), 0);
  const below = logs.reduce((sum, [x]) => sum + (x - x0) ** 2, 0);
  return above / below;
}
