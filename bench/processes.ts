// SPDX-License-Identifier: Apache-2.0
//
// The processes of a contestant: found by a mark in their environment and by descent from one that
// has it (some overwrite their environment), counted, and ended when a watchdog fires. Reads /proc.

import { readdirSync, readFileSync } from "node:fs";

/** The environment variable that marks a contestant's processes. */
export const markName = "POLYRAY_BENCH_MARK";

/** What the processes of a contestant use. */
export interface Usage {
  readonly processes: number;
  /** Sum over the processes; pages that they share count for each. */
  readonly rssMb: number;
  /** Sum of proportional shares: shared pages count once. */
  readonly pssMb: number;
  readonly cpuMs: number;
}

const msPerTick = 10;

/** Pids of the processes that have the mark, and of what descends from them. */
export function marked(mark: string): number[] {
  const parents = new Map<number, number>();
  const found = new Set<number>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const stat = read(pid, "stat");
    if (stat === null) continue;
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z") continue;
    parents.set(pid, Number(parent));
    if (read(pid, "environ")?.includes(`${markName}=${mark}`)) found.add(pid);
  }
  for (let grown = -1; grown < found.size; ) {
    grown = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  return [...found];
}

/** Ends all of them. */
export function killMarked(mark: string): void {
  for (const pid of marked(mark)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended meanwhile.
    }
  }
}

/** What they use now. */
export function usageOf(mark: string): Usage {
  const pids = marked(mark);
  let rssKb = 0;
  let pssKb = 0;
  let cpuMs = 0;
  for (const pid of pids) {
    const rollup = read(pid, "smaps_rollup") ?? "";
    rssKb += Number(/^Rss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    pssKb += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    const stat = read(pid, "stat") ?? "";
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // utime, stime, and those of children that ended and were waited for.
    for (const field of [11, 12, 13, 14]) cpuMs += Number(fields[field] ?? 0) * msPerTick;
  }
  return { processes: pids.length, rssMb: rssKb / 1024, pssMb: pssKb / 1024, cpuMs };
}

function read(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return null;
  }
}
