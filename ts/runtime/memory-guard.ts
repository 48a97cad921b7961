// SPDX-License-Identifier: Apache-2.0
// The memory monitor of a node service: who may be ended, from the running tasks of the segment and the actors of the GCS.

import { idFromBytes } from "../base/ids.ts";
import { ActorPhase, type GcsState } from "../gcs/state.ts";
import { type NativeBinding, RayletOp } from "../native/binding.ts";
import type { ServiceEndpoint } from "../node/endpoint.ts";
import {
  type MemoryCandidate,
  MemoryMonitor,
  type MemorySettings,
} from "../node/memory-monitor.ts";
import { memoryReason, memoryUse } from "../node/memory-use.ts";
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
    watchLeases: () => endpoint.command(RayletOp.watchLeases, 0n, 0n, 0n, null),
    every: (ms, run) => {
      const timer = setInterval(run, ms);
      return () => clearInterval(timer);
    },
    memoryUse: () => memoryUse(settings.root),
    candidates: () => [...runningTasks(parts), ...livingActors(parts)],
    reason: (victim, use) => memoryReason(victim, use, settings.threshold, parts.nodeId),
    end: ({ candidate, again }, reason) => {
      parts.notice(reason.split("\n", 1)[0] as string);
      const payload = Buffer.from(`${again ? 1 : 0}${reason}`);
      endpoint.command(RayletOp.endForMemory, candidate.peer, 0n, 0n, payload);
    },
  });
}

function runningTasks({ native, tasks }: MemoryGuardParts): MemoryCandidate[] {
  const known = new Map(tasks().map((row) => [row.task_id, row]));
  return [...rowsOf(native.observe(5))].map((row) => {
    const task = known.get(idFromBytes(row.bytes.subarray(0, 16)));
    return {
      peer: row.getBigUint64(24, true),
      owner: String(row.getBigUint64(16, true)),
      retriable: row.getUint32(36, true) === 1,
      startedAt: task?.[microseconds]?.[0] ?? 0,
      pid: row.getUint32(32, true),
      what: `the task "${String(task?.name ?? "task")}"`,
    };
  });
}

function livingActors({ actors, tasks }: MemoryGuardParts): MemoryCandidate[] {
  const living = [...actors.values()].filter(
    (row) => row.peer !== null && row.phase !== ActorPhase.dead,
  );
  if (living.length === 0) return [];
  const made = new Map<unknown, number>();
  for (const row of tasks())
    if (row.type === "ACTOR_CREATION_TASK")
      made.set(row.actor_id, Math.max(made.get(row.actor_id) ?? 0, row[microseconds]?.[0] ?? 0));
  return living.map((row) => ({
    peer: row.peer as bigint,
    owner: String(row.owner ?? `job ${row.job}`),
    retriable: row.spec.maxRestarts !== 0,
    startedAt: made.get(row.spec.actor) ?? 0,
    pid: row.pid,
    what: `the actor "${row.spec.handle.name ?? row.spec.handle.className}"`,
  }));
}
