// SPDX-License-Identifier: Apache-2.0
// How large this machine or container is: CPUs and memory, with the limits of control groups (version 1 and 2).
// Reads files below the folders it is given; a file that is missing or odd is no limit.

import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { groupFolders } from "../base/control-groups.ts";

/** What a node may count with. */
export interface MachineSize {
  /** Whole CPUs, at least 1. */
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** Limits of the control groups of a process; Infinity: none. */
export interface CgroupLimits {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** The limits by the files below `root`, for a process whose groups `membership` names (`/proc/self/cgroup`). */
export function cgroupLimits(
  root = "/sys/fs/cgroup",
  membership = "/proc/self/cgroup",
): CgroupLimits {
  let cpus = Number.POSITIVE_INFINITY;
  let memoryBytes = Number.POSITIVE_INFINITY;
  for (const folder of groupFolders(root, membership, ["cpu", "memory"])) {
    const [quota, period] = words(join(folder, "cpu.max"));
    cpus = Math.min(cpus, share(quota, period));
    const [quotaUs] = words(join(folder, "cpu.cfs_quota_us"));
    const [periodUs] = words(join(folder, "cpu.cfs_period_us"));
    cpus = Math.min(cpus, share(quotaUs, periodUs));
    for (const name of ["memory.max", "memory.limit_in_bytes"])
      memoryBytes = Math.min(memoryBytes, positive(words(join(folder, name))[0]));
  }
  return { cpus, memoryBytes };
}

/** This machine within its control groups. Of a part of a CPU the whole ones count. */
export function machineSize(limits: CgroupLimits = cgroupLimits()): MachineSize {
  return {
    cpus: Math.max(1, Math.floor(Math.min(availableParallelism(), limits.cpus))),
    memoryBytes: Math.min(totalmem(), limits.memoryBytes),
  };
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

const words = (path: string): string[] => text(path).trim().split(/\s+/);

// "max", -1 and what is no number are no limit.
function positive(word: string | undefined): number {
  const value = Number(word === "" ? undefined : word);
  return value > 0 ? value : Number.POSITIVE_INFINITY;
}

function share(quota: string | undefined, period: string | undefined): number {
  const per = positive(period);
  return Number.isFinite(per) ? positive(quota) / per : Number.POSITIVE_INFINITY;
}
