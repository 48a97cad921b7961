// SPDX-License-Identifier: Apache-2.0
// Placement groups in the control service's state machine: created, reserved, removed. Pure (see step.ts).
// A group is PENDING until the raylet has reserved all its bundles at once. Removing it ends what runs in it; a group that is
// not detached ends with its job. Removed rows are kept up to maxRemovedGroups, so that their state can be asked.

import type { GcsEffect, GcsEvent } from "./events.ts";
import { type GcsState, type GroupRow, gcsLimits } from "./state.ts";

export function createGroup(
  state: GcsState,
  event: Extract<GcsEvent, { type: "group_created" }>,
): GcsEffect[] {
  state.groups.set(event.row.id, event.row);
  return [{ type: "reserve_group", group: event.row.id }];
}

export function groupReady(state: GcsState, id: string, atMs: number): GcsEffect[] {
  const row = state.groups.get(id);
  if (row === undefined || row.state !== "PENDING") return [];
  row.state = "CREATED";
  row.readyAtMs = atMs;
  return [{ type: "group_changed", group: id }];
}

export function removeGroup(state: GcsState, id: string): GcsEffect[] {
  const row = state.groups.get(id);
  if (row === undefined || row.state === "REMOVED") return [];
  row.state = "REMOVED";
  const removed = [...state.groups.values()].filter((one) => one.state === "REMOVED");
  for (const old of removed.slice(0, Math.max(0, removed.length - gcsLimits.maxRemovedGroups)))
    state.groups.delete(old.id);
  return [
    { type: "release_group", group: id },
    { type: "group_changed", group: id },
  ];
}

/** The groups that end with a job. */
export function groupsOfJob(state: GcsState, job: number): GroupRow[] {
  return [...state.groups.values()].filter((row) => row.job === job && !row.detached);
}

/** The live group of a name, or null. */
export function groupByName(state: GcsState, namespace: string, name: string): GroupRow | null {
  for (const row of state.groups.values())
    if (row.state !== "REMOVED" && row.name === name && row.namespace === namespace) return row;
  return null;
}
