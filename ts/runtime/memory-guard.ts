// SPDX-License-Identifier: Apache-2.0
// The memory monitor of a node service: who may be ended, from the running tasks of the segment and the actors of the GCS.

import { idFromBytes } from "../base/ids.ts";
import { ActorPhase, type GcsState } from "../gcs/state.ts";
import { mayRestart } from "../gcs/step.ts";
import { type NativeBinding, RayletOp } from "../native/binding.ts";
import type { ServiceEndpoint } from "../node/endpoint.ts";
import {
  type MemoryCandidate,
  MemoryMonitor,
  type MemorySettings,
} from "../node/memory-monitor.ts";
import { largestProcesses, memoryReason, memoryUse } from "../node/memory-use.ts";
import { microseconds, rowsOf, type TaskRow } from "./task-log.ts";

/** What it needs of the node service. */
export interface MemoryGuardParts {
  readonly settings: MemorySettings;
  readonly nodeId: string;
  readonly native: NativeBinding;
  readonly endpoint: ServiceEndpoint;
  readonly actors: GcsState["actors"];
  tasks(): readonly TaskRow[];
  notice(line: string): void;
}

export function memoryGuard(parts: MemoryGuardParts): MemoryMonitor {
  const { settings, endpoint } = parts;
  return new MemoryMonitor(settings, {
    watchLeases: () => {
      if (parts.native.isAttached()) endpoint.command(RayletOp.watchLeases, 0n, 0n, 0n, null);
    },
    nowMs: () => performance.now(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms).unref();
      return () => clearTimeout(timer);
    },
    memoryUse: () => memoryUse(settings.root),
    largestProcesses,
    candidates: () => memoryCandidates(parts),
    runs: (candidate) => runs(parts, candidate),
    reason: (victim, use, processes) =>
      memoryReason(victim, use, processes, settings.threshold, parts.nodeId),
    end: ({ candidate, again }, reason) => {
      parts.notice(reason.split("\n", 1)[0] as string);
      const payload = Buffer.from(`${again ? 1 : 0}${reason}`);
      endpoint.command(RayletOp.endForMemory, candidate.peer, 0n, 0n, payload);
    },
  });
}

interface Run {
  readonly task: string;
  readonly peer: bigint;
  readonly owner: bigint;
  readonly pid: number;
  readonly retriable: boolean;
}

type Sources = Pick<MemoryGuardParts, "actors" | "tasks"> & {
  readonly native: Pick<NativeBinding, "observe">;
};

/** The running tasks and living actors, each in a worker that is there. */
export function memoryCandidates({ native, actors, tasks }: Sources): MemoryCandidate[] {
  const begun = new Map<string, TaskRow>();
  const made = new Map<unknown, number>();
  for (const row of tasks()) {
    begun.set(row.task_id, row);
    if (row.type === "ACTOR_CREATION_TASK")
      made.set(row.actor_id, Math.max(made.get(row.actor_id) ?? 0, row[microseconds]?.[0] ?? 0));
  }
  const running = runsOf(native).map(({ task, owner, ...run }): MemoryCandidate => {
    const row = begun.get(task);
    return {
      ...run,
      kind: "task",
      id: task,
      owner: String(owner),
      startedAt: row?.[microseconds]?.[0] ?? 0,
      what: `the task "${String(row?.name ?? "task")}"`,
    };
  });
  const living = [...actors.values()]
    .filter((row) => row.peer !== null && row.phase !== ActorPhase.dead)
    .map(
      (row): MemoryCandidate => ({
        kind: "actor",
        id: row.spec.actor,
        peer: row.peer as bigint,
        owner: String(row.owner ?? `job ${row.job}`),
        retriable: mayRestart(row),
        startedAt: made.get(row.spec.actor) ?? 0,
        pid: row.pid,
        what: `the actor "${row.spec.handle.name ?? row.spec.handle.className}"`,
      }),
    );
  return [...running, ...living];
}

function runs({ native, actors }: Sources, { kind, id, peer }: MemoryCandidate): boolean {
  if (kind === "actor") return actors.get(id)?.peer === peer;
  return runsOf(native).some((run) => run.task === id && run.peer === peer);
}

// A caller that is busy has not noticed the end of its worker yet: its call runs on in one that is not there any more.
function runsOf(native: Sources["native"]): Run[] {
  const there = new Set<bigint>();
  for (const row of rowsOf(native.observe(3)))
    there.add(BigInt(row.getUint32(0, true)) | (BigInt(row.getUint32(12, true)) << 32n));
  const found = [...rowsOf(native.observe(5))].map((row) => ({
    task: idFromBytes(row.bytes.subarray(0, 16)),
    peer: row.getBigUint64(24, true),
    owner: row.getBigUint64(16, true),
    pid: row.getUint32(32, true),
    retriable: row.getUint32(36, true) === 1,
  }));
  return found.filter((run) => there.has(run.peer));
}
