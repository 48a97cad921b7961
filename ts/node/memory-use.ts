// SPDX-License-Identifier: Apache-2.0
// How much memory a node uses and who uses it, from the kernel's files. Reads only; a file that cannot be read is skipped.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { MemoryUse, MemoryVictim } from "./memory-monitor.ts";

const gib = 1024 ** 3;
const shownProcesses = 10;

interface ProcessMemory {
  readonly pid: number;
  readonly name: string;
  readonly bytes: number;
}

function text(root: string, path: string): string | null {
  try {
    return readFileSync(join(root, path), "utf8");
  } catch {
    return null;
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

// Pages of files are given up by the kernel before anybody is ended: they do not count.
function groupUse(root: string): MemoryUse | null {
  for (const [folder, limitFile, usedFile, prefix] of [
    ["sys/fs/cgroup", "memory.max", "memory.current", ""],
    ["sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"],
  ] as const) {
    const limit = Number(text(root, join(folder, limitFile)) ?? Number.NaN);
    const used = Number(text(root, join(folder, usedFile)) ?? Number.NaN);
    if (!(limit > 0) || !Number.isFinite(used)) continue;
    const stat = text(root, join(folder, "memory.stat")) ?? "";
    const files = counted(stat, `${prefix}inactive_file`) + counted(stat, `${prefix}active_file`);
    return { totalBytes: limit, usedBytes: Math.max(0, used - files) };
  }
  return null;
}

/** Of the control group when its limit is below the machine's memory, else of the machine; null: not to be known. */
export function memoryUse(root: string): MemoryUse | null {
  const machine = machineUse(root);
  const group = groupUse(root);
  if (machine === null || group === null) return machine ?? group;
  return group.totalBytes < machine.totalBytes ? group : machine;
}

// The processes with the most memory of their own, largest first.
function largestProcesses(): ProcessMemory[] {
  const found: ProcessMemory[] = [];
  for (const entry of readdirSync("/proc")) {
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
  threshold: number,
  nodeId: string,
): string {
  const part = ((use.usedBytes / use.totalBytes) * 100).toFixed(1);
  const processes = largestProcesses().map((one) => `${one.pid} ${one.name} ${shown(one.bytes)}`);
  const lines = [
    `[out of memory] ${candidate.what} (pid ${candidate.pid}) was ended because node ${nodeId} ran low on memory: ${shown(use.usedBytes)} of ${shown(use.totalBytes)} (${part} %) are in use, the threshold is ${threshold * 100} %.`,
    `The largest processes (pid, name, resident memory): ${processes.join("; ")}.`,
    again || !candidate.retriable
      ? ""
      : "It was the last of its owner that may run again, so it would have met the same end.",
    "Run fewer at a time (give each more num_cpus or a memory request), use less memory in each, or add memory. POLYRAY_MEMORY_USAGE_THRESHOLD moves the threshold; POLYRAY_MEMORY_MONITOR_REFRESH_MS=0 ends this protection.",
  ];
  return lines.filter((line) => line !== "").join("\n");
}
