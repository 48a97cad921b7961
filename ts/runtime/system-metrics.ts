// SPDX-License-Identifier: Apache-2.0
// The runtime's own counters as families of Prometheus: resources, store, workers, tasks, calls by process role, messages.
// Pure: made from the raylet's stats and the tables of the control service. docs/cli.md lists the names.

import { limits } from "../base/limits.ts";
import type { Family, Sample } from "../gcs/metrics-table.ts";
import { actorStates, type GcsState } from "../gcs/state.ts";
import type { ProcessCounts, ProcessStats, RayletStats } from "../native/stats.ts";

/** The processes of one kind and language. */
export interface Role {
  /** "driver", "worker", "service", "client", "raylet" */
  readonly role: string;
  readonly language: string;
  /** Alive now. */
  readonly processes: number;
  readonly ended: number;
  readonly rings: number;
  readonly ringDepth: number;
  readonly deepestRing: number;
  readonly counts: ProcessCounts;
}

const kinds = ["", "raylet", "service", "driver", "worker", "client"];
const languages = ["native", "typescript", "python"];

/** Sums of processes by role, those that ended included. */
export function rolesOf(processes: readonly ProcessStats[]): Role[] {
  const found = new Map<string, { -readonly [K in keyof Role]: Role[K] }>();
  for (const one of processes) {
    const role = kinds[one.kind] ?? "other";
    const language = role === "raylet" ? "native" : (languages[one.language] ?? "other");
    const key = `${role} ${language}`;
    const sum = found.get(key);
    const alive = one.pid === 0 ? 0 : 1;
    if (sum === undefined) {
      const { rings, ringDepth, deepestRing, counts, ended } = one;
      found.set(key, {
        role,
        language,
        processes: alive,
        ended,
        rings,
        ringDepth,
        deepestRing,
        counts,
      });
      continue;
    }
    sum.processes += alive;
    sum.ended += one.ended;
    sum.rings += one.rings;
    sum.ringDepth += one.ringDepth;
    sum.deepestRing = Math.max(sum.deepestRing, one.deepestRing);
    sum.counts = Object.fromEntries(
      Object.entries(sum.counts).map(([name, value]) => [
        name,
        value + one.counts[name as keyof ProcessCounts],
      ]),
    ) as unknown as ProcessCounts;
  }
  const order = (role: Role): number => kinds.indexOf(role.role);
  return [...found.values()].sort(
    (a, b) => order(a) - order(b) || a.language.localeCompare(b.language),
  );
}

// [name, counter of a process, what it says, tags besides role and language]
const perRole: readonly [string, keyof ProcessCounts, string, Readonly<Record<string, string>>?][] =
  [
    ["calls_submitted_total", "tasksSubmitted", "Calls submitted", { kind: "task" }],
    ["calls_submitted_total", "actorCallsSubmitted", "Calls submitted", { kind: "actor" }],
    ["calls_run_total", "callsFinished", "Runs of calls by how they ended", { state: "FINISHED" }],
    ["calls_run_total", "callsFailed", "Runs of calls by how they ended", { state: "FAILED" }],
    ["calls_run_total", "callsRetried", "Runs of calls by how they ended", { state: "RETRIED" }],
    [
      "calls_run_total",
      "callsCancelled",
      "Runs of calls by how they ended",
      { state: "CANCELLED" },
    ],
    ["calls_given_up_total", "givenUp", "Calls that their submitter settled with an error"],
    ["call_retries_total", "retries", "Calls that were sent again after a failure"],
    ["leases_received_total", "leasesGranted", "Worker leases received"],
    ["tasks_sent_total", "tasksSent", "Tasks sent to leased workers"],
    ["records_sent_total", "recordsSent", "Records put into rings"],
    ["bells_rung_total", "bellsRung", "Wake-ups of other processes, each a system call"],
    ["puts_total", "puts", "Values put into the store"],
    ["put_bytes_total", "putBytes", "Bytes put into the store"],
    ["read_in_place_bytes_total", "zeroCopyBytes", "Bytes read in place"],
    ["memory_requests_total", "extentRequests", "Exchanges with the raylet for memory"],
    [
      "memory_populated_bytes_total",
      "populatedBytes",
      "Memory whose pages a process had to be given",
    ],
    [
      "memory_page_reuse_bytes_total",
      "pagesReusedBytes",
      "Memory whose pages a process had already",
    ],
  ];

function perRoleFamilies(roles: readonly Role[]): Family[] {
  const found = new Map<string, { help: string; samples: Sample[] }>();
  for (const [name, counter, help, tags] of perRole) {
    const family = found.get(name) ?? { help, samples: [] };
    found.set(name, family);
    for (const { role, language, counts } of roles)
      family.samples.push({ tags: { role, language, ...tags }, value: counts[counter] });
  }
  return [...found].map(([name, rest]) => ({ name, kind: "counter", ...rest }));
}

const one = (value: number): Sample[] => [{ tags: {}, value }];
const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  kind: "gauge",
  help,
  samples,
});
const counter = (name: string, help: string, value: number): Family => ({
  name,
  kind: "counter",
  help,
  samples: one(value),
});

function tallied(values: Iterable<string>, tag: string, all: readonly string[]): Sample[] {
  const counts = new Map(all.map((name) => [name, 0]));
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, count]) => ({ tags: { [tag]: value }, value: count }));
}

/** All families of the runtime itself. */
export function systemFamilies(stats: RayletStats, state: GcsState): Family[] {
  const roles = rolesOf(stats.processes);
  const amounts = Object.entries(stats.total).flatMap(([name, total]) => {
    const free = stats.available[name] ?? 0;
    const used = name === "object_store_memory" ? stats.storeUsedBytes : undefined;
    const unit = limits.resourceUnit;
    return [
      { tags: { name, state: "USED" }, value: used ?? (total - free) / unit },
      { tags: { name, state: "AVAILABLE" }, value: total / unit - (used ?? (total - free) / unit) },
    ];
  });
  const { workers, idleWorkers, startingWorkers } = stats;
  const byRole = (name: string, help: string, read: (role: Role) => number): Family =>
    gauge(
      name,
      help,
      roles.map((one) => ({
        tags: { role: one.role, language: one.language },
        value: read(one),
      })),
    );
  return [
    gauge("resources", "Logical resources", amounts),
    gauge("nodes", "Nodes", one([...state.nodes.values()].filter((row) => row.alive).length)),
    gauge(
      "actors",
      "Actors by state",
      tallied(
        [...state.actors.values()].map((row) => actorStates[row.phase] ?? ""),
        "state",
        actorStates,
      ),
    ),
    gauge("workers", "Worker processes", [
      { tags: { state: "BUSY" }, value: workers - idleWorkers },
      { tags: { state: "IDLE" }, value: idleWorkers },
      { tags: { state: "STARTING" }, value: startingWorkers },
    ]),
    counter("workers_started_total", "Worker processes started", stats.workersStarted),
    gauge("leases_active", "Worker leases in use", one(stats.activeLeases)),
    gauge("leases_waiting", "Worker leases that are waited for", one(stats.queuedLeases)),
    counter("leases_granted_total", "Worker leases granted", stats.leasesGranted),
    gauge("object_store_used_bytes", "Object store in use", one(stats.storeUsedBytes)),
    gauge("object_store_capacity_bytes", "Size of the object store", one(stats.storeCapacityBytes)),
    gauge("objects", "Objects of this node", one(stats.objects)),
    gauge("object_store_extents", "Pieces of the store that are given out", one(stats.extents)),
    counter("object_store_extents_total", "Pieces ever given out", stats.extentsGranted),
    counter(
      "object_store_pages_reused_bytes_total",
      "Given out with pages",
      stats.pagesReusedBytes,
    ),
    counter(
      "object_store_pages_fresh_bytes_total",
      "Given out with new pages",
      stats.pagesFreshBytes,
    ),
    gauge("object_store_slabs", "Pieces cut into slots for small values", one(stats.slabs)),
    gauge("object_store_slab_slots", "Slots of slabs", [
      { tags: { state: "USED" }, value: stats.slabSlotsUsed },
      { tags: { state: "FREE" }, value: stats.slabSlots - stats.slabSlotsUsed },
    ]),
    gauge("spilled_bytes", "Bytes on disk now", one(stats.spilledBytes)),
    gauge("spilled_objects", "Objects on disk now", one(stats.spilledObjects)),
    counter("spilled_bytes_total", "Bytes ever written to disk", stats.spilledTotalBytes),
    counter("spilled_objects_total", "Objects ever written to disk", stats.spilledTotalObjects),
    counter("restored_bytes_total", "Spilled bytes read by processes", stats.spillReadBytes),
    counter("restored_objects_total", "Spilled objects read by processes", stats.spillReads),
    gauge("control_memory_chunks", "64 KiB pieces of control memory by use", [
      { tags: { use: "OBJECTS" }, value: stats.entryChunks },
      { tags: { use: "CALLS" }, value: stats.recordChunks },
      { tags: { use: "RINGS" }, value: stats.ringChunks },
      { tags: { use: "EVENTS" }, value: stats.eventChunks },
    ]),
    counter("raylet_wakeups_total", "Wake-ups of the raylet", stats.bellsReceived),
    counter("raylet_records_total", "Records the raylet handled", stats.recordsHandled),
    byRole("processes", "Attached processes", (role) => role.processes),
    byRole(
      "ring_depth",
      "Records waiting in rings that lead to processes",
      (role) => role.ringDepth,
    ),
    byRole("ring_depth_max", "Records waiting in the fullest ring", (role) => role.deepestRing),
    ...perRoleFamilies(roles),
  ];
}
