// SPDX-License-Identifier: Apache-2.0
// Rows of the state API counted by what they are of: for state.summarize*() and for `polyray summary`. Pure.

import type { ActorDetail, ObjectDetail, TaskDetail } from "../core/state-rows.ts";

/** How many tasks of one function, or calls of one method, are in which state. */
export interface TaskGroup {
  readonly funcOrClassName: string;
  readonly type: string;
  readonly stateCounts: Readonly<Record<string, number>>;
}

/** Tasks by function. */
export interface TaskSummary {
  readonly summary: Readonly<Record<string, TaskGroup>>;
  readonly totalTasks: number;
  readonly totalActorTasks: number;
  readonly totalActorScheduled: number;
}

/** Actors by class. */
export interface ActorSummary {
  readonly summary: Readonly<
    Record<
      string,
      { readonly className: string; readonly stateCounts: Readonly<Record<string, number>> }
    >
  >;
  readonly totalActors: number;
}

/** Objects by what made them. */
export interface ObjectSummary {
  readonly summary: Readonly<
    Record<
      string,
      {
        readonly totalObjects: number;
        readonly totalSizeBytes: number;
        readonly refTypeCounts: Readonly<Record<string, number>>;
      }
    >
  >;
  readonly totalObjects: number;
  readonly totalSizeBytes: number;
}

/** How many rows have which text. */
export function tally<R>(rows: readonly R[], textOf: (row: R) => string): Record<string, number> {
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(textOf(row), (counts.get(textOf(row)) ?? 0) + 1);
  return Object.fromEntries(counts);
}

function grouped<R, G>(
  rows: readonly R[],
  nameOf: (row: R) => string,
  groupOf: (rows: readonly [R, ...R[]]) => G,
): Record<string, G> {
  const groups = new Map<string, [R, ...R[]]>();
  for (const row of rows) {
    const group = groups.get(nameOf(row));
    if (group === undefined) groups.set(nameOf(row), [row]);
    else group.push(row);
  }
  return Object.fromEntries([...groups].map(([name, group]) => [name, groupOf(group)]));
}

/** Tasks by function, and how many there are of each type. */
export function taskSummary(rows: readonly TaskDetail[]): TaskSummary {
  const types = tally(rows, (row) => row.type);
  return {
    summary: grouped(
      rows,
      (row) => row.funcOrClassName,
      (group) => ({
        funcOrClassName: group[0].funcOrClassName,
        type: group[0].type,
        stateCounts: tally(group, (row) => row.state),
      }),
    ),
    totalTasks: types.NORMAL_TASK ?? 0,
    totalActorTasks: types.ACTOR_TASK ?? 0,
    totalActorScheduled: types.ACTOR_CREATION_TASK ?? 0,
  };
}

/** Actors by class. */
export function actorSummary(rows: readonly ActorDetail[]): ActorSummary {
  return {
    summary: grouped(
      rows,
      (row) => row.className,
      (group) => ({
        className: group[0].className,
        stateCounts: tally(group, (row) => row.state),
      }),
    ),
    totalActors: rows.length,
  };
}

/** Objects by what made them, with their sizes. */
export function objectSummary(rows: readonly ObjectDetail[]): ObjectSummary {
  const sizes = (group: readonly ObjectDetail[]) => ({
    totalObjects: group.length,
    totalSizeBytes: group.reduce((sum, row) => sum + Math.max(0, row.objectSize), 0),
  });
  return {
    summary: grouped(
      rows,
      (row) => row.callSite,
      (group) => ({ ...sizes(group), refTypeCounts: tally(group, (row) => row.referenceType) }),
    ),
    ...sizes(rows),
  };
}
