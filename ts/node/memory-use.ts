// SPDX-License-Identifier: Apache-2.0
// How much memory a node uses and who uses it, from the kernel's files. Reads only; a file that cannot be read is skipped.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { groupFolders } from "../base/control-groups.ts";
import type { MemoryUse, MemoryVictim, ProcessMemory } from "./memory-monitor.ts";

const gib = 1024 ** 3;
const shownProcesses = 10;

function text(root: string, path: string): string | null {
  try {
    return readFileSync(join(root, path), "utf8");
  } catch {
    return null;
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

// "Name:   123 kB" of /proc, in bytes.
function kilobytes(from: string, name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(from);
  return found === null ? null : Number(found[1]) * 1024;
}

// "name 123" of a cgroup's memory.stat.
function counted(from: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(from)?.[1] ?? 0);
}

function machineUse(root: string): MemoryUse | null {
  const info = text(root, "proc/meminfo");
  if (info === null) return null;
  const total = kilobytes(info, "MemTotal");
  const available = kilobytes(info, "MemAvailable");
  if (total === null || available === null) return null;
  return { totalBytes: total, usedBytes: total - available };
}

// Pages of files and caches of the kernel are given up before anybody is ended: they do not count.
function groupUse(folder: string): MemoryUse | null {
  for (const [limitFile, usedFile, reclaimable] of [
    ["memory.max", "memory.current", ["inactive_file", "active_file", "slab_reclaimable"]],
    [
      "memory.limit_in_bytes",
      "memory.usage_in_bytes",
      ["total_inactive_file", "total_active_file"],
    ],
  ] as const) {
    const limit = Number(text(folder, limitFile) ?? Number.NaN);
    if (!(limit > 0)) continue;
    const used = Number(text(folder, usedFile) ?? Number.NaN);
    if (!Number.isFinite(used)) continue;
    const stat = text(folder, "memory.stat") ?? "";
    const free = reclaimable.reduce((sum, name) => sum + counted(stat, name), 0);
    return { totalBytes: limit, usedBytes: Math.max(0, used - free) };
  }
  return null;
}

const part = (use: MemoryUse): number => use.usedBytes / use.totalBytes;

/**
 * Of the fullest control group, its own or one above, with a limit below the machine's memory; without one of the machine;
 * null: not to be known.
 */
export function memoryUse(root: string): MemoryUse | null {
  const machine = machineUse(root);
  const most = machine?.totalBytes ?? Number.POSITIVE_INFINITY;
  const folders = groupFolders(join(root, "sys/fs/cgroup"), join(root, "proc/self/cgroup"), [
    "memory",
  ]);
  const groups = folders
    .map(groupUse)
    .filter((use): use is MemoryUse => use !== null && use.totalBytes < most);
  return groups.sort((a, b) => part(b) - part(a))[0] ?? machine;
}

/** The processes with the most resident memory, largest first. */
export function largestProcesses(): ProcessMemory[] {
  const found: ProcessMemory[] = [];
  for (const entry of entries("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const status = text("/proc", join(entry, "status"));
    const bytes = status === null ? null : kilobytes(status, "VmRSS");
    if (status === null || bytes === null) continue;
    found.push({ pid: Number(entry), name: /^Name:\s+(.*)$/m.exec(status)?.[1] ?? "?", bytes });
  }
  return found.sort((a, b) => b.bytes - a.bytes).slice(0, shownProcesses);
}

const shown = (bytes: number): string => `${(bytes / gib).toFixed(2)} GiB`;

/** Why a worker is ended, for those who wait for it. */
export function memoryReason(
  { candidate, again }: MemoryVictim,
  use: MemoryUse,
  processes: readonly ProcessMemory[],
  threshold: number,
  nodeId: string,
): string {
  const percent = (part(use) * 100).toFixed(1);
  const largest = processes.map((one) => `${one.pid} ${one.name} ${shown(one.bytes)}`);
  const lines = [
    `[out of memory] ${candidate.what} (pid ${candidate.pid}) was ended because node ${nodeId} ran low on memory: ${shown(use.usedBytes)} of ${shown(use.totalBytes)} (${percent} %) are in use, the threshold is ${threshold * 100} %.`,
    `The largest processes (pid, name, resident memory): ${largest.join("; ")}.`,
    again || !candidate.retriable
      ? ""
      : "It was the last task of its owner that may run again, so it would have met the same end.",
    "Run fewer at a time (give each more num_cpus or a memory request), use less memory in each, or add memory. POLYRAY_MEMORY_USAGE_THRESHOLD moves the threshold; POLYRAY_MEMORY_MONITOR_REFRESH_MS=0 ends this protection.",
  ];
  return lines.filter((line) => line !== "").join("\n");
}
