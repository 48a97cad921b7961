// SPDX-License-Identifier: Apache-2.0
// The state API: what the runtime runs and holds now, and what lately ended: lists, single rows, summaries.
//
// The node service filters and cuts. Rows are right within a second. Nothing is collected while nobody asks.

import { InvalidOptionError } from "../base/errors.ts";
import type { Connection } from "../core/connection.ts";
import { connectionOrNull } from "../core/context.ts";
import { checkOptions } from "../core/options.ts";
import { fetchRows, type RowAnswer, type WireFilter } from "../core/state-request.ts";
import {
  rowOf,
  type StateKind,
  type StateRows,
  stateFields,
  stateIds,
  wireKind,
  wireName,
} from "../core/state-rows.ts";
import { ObjectRef } from "../object/ref.ts";
import { attached, inTurn } from "./observer.ts";

/** Field, `=` or `!=`, value. Texts are compared without regard to case. */
export type StateFilter<K extends StateKind> = readonly [
  keyof StateRows[K][1] & string,
  "=" | "!=",
  string | number | boolean | null,
];

/** Which runtime is asked, and how long. */
export interface StateOptions {
  /** Milliseconds; default 30000. Then a GetTimeoutError. */
  readonly timeoutMs?: number;
  /** Asks this runtime without joining it: for a program that has none. Default: the program's own. */
  readonly address?: string;
}

/** Options of the lists. */
export interface ListOptions<K extends StateKind, D extends boolean = false> extends StateOptions {
  /** Rows must pass all of them. */
  readonly filters?: readonly StateFilter<K>[];
  /** At most so many rows; default 100, highest 10000. */
  readonly limit?: number;
  /** With all fields. Default false. */
  readonly detail?: D;
}

type Listed<K extends StateKind, D extends boolean> = D extends true
  ? StateRows[K][1]
  : StateRows[K][0];

const defaultLimit = 100;
/** The most rows of one list. */
export const maxListRows = 10_000;
const defaultTimeoutMs = 30_000;

const checks = {
  timeoutMs: (v: unknown) => (typeof v === "number" && v > 0 ? null : "milliseconds > 0"),
  address: (v: unknown) => (typeof v === "string" && v !== "" ? null : "a non-empty string"),
  filters: (v: unknown) => (Array.isArray(v) ? null : 'a list such as [["state", "=", "FAILED"]]'),
  limit: (v: unknown) =>
    Number.isInteger(v) && (v as number) > 0 && (v as number) <= maxListRows
      ? null
      : `a whole number from 1 to ${maxListRows}`,
  detail: (v: unknown) => (typeof v === "boolean" ? null : "true or false"),
};

/** Checks filters and gives them the names of the wire. Throws InvalidOptionError. */
export function wireFilters(
  kind: StateKind,
  filters: readonly (readonly unknown[])[],
): WireFilter[] {
  const known = Object.keys(stateFields[kind]);
  return filters.map((one) => {
    const [key, predicate, value] = one;
    const name = known.find((field) => field === key || wireName(field) === key);
    if (!Array.isArray(one) || one.length !== 3 || name === undefined)
      throw new InvalidOptionError(
        `[invalid option] a filter is [field, "=" or "!=", value]; ${JSON.stringify(one)} is none. Fields of ${kind}: ${known.join(", ")}.`,
      );
    if (predicate !== "=" && predicate !== "!=")
      throw new InvalidOptionError(
        `[invalid option] a filter compares by "=" or "!=", not ${JSON.stringify(predicate)}.`,
      );
    return [wireName(name), predicate, value];
  });
}

/** Asks the program's runtime, or the one at the address, which is left again. */
async function ask<T>(options: StateOptions, run: (current: Connection) => Promise<T>): Promise<T> {
  const own = connectionOrNull();
  if (own !== null && options.address === undefined) return run(own);
  if (own !== null)
    throw new InvalidOptionError(
      `[invalid option] address: this program has a runtime already (${own.place.address}). Leave it out, or ask from another program.`,
    );
  // While this waited for its turn the program may have got a runtime.
  return inTurn(() =>
    connectionOrNull() === null ? attached(options.address ?? "auto", run) : ask(options, run),
  );
}

async function list<K extends StateKind, D extends boolean>(
  kind: K,
  options: ListOptions<K, D>,
): Promise<Listed<K, D>[]> {
  const { rows } = await wire(kind, options);
  return rows.map((row) => rowOf(kind, row, options.detail === true) as Listed<K, D>);
}

async function wire<K extends StateKind>(
  kind: K,
  options: ListOptions<K, boolean>,
): Promise<RowAnswer> {
  checkOptions(options, checks, `the list of ${kind}`);
  const query = {
    filters: wireFilters(kind, options.filters ?? []),
    limit: options.limit ?? defaultLimit,
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
  };
  return ask(options, (current) => fetchRows(current, wireKind(kind), query));
}

async function one<K extends StateKind>(
  kind: K,
  id: string | ObjectRef<unknown>,
  options: StateOptions,
): Promise<StateRows[K][1] | null> {
  const text = id instanceof ObjectRef ? (kind === "tasks" ? (id.taskId ?? id.id) : id.id) : id;
  if (typeof text !== "string" || text === "")
    throw new InvalidOptionError(
      `[invalid option] an id is a non-empty string, not ${String(text)}.`,
    );
  const filters = [[stateIds[kind], "=", text]] as unknown as StateFilter<K>[];
  const rows = await list<K, true>(kind, {
    ...options,
    filters,
    limit: maxListRows,
    detail: true,
  });
  return (rows.at(-1) as StateRows[K][1] | undefined) ?? null;
}

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

function tally(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

async function all<K extends StateKind>(
  kind: K,
  options: StateOptions,
): Promise<StateRows[K][1][]> {
  checkOptions(
    options,
    { timeoutMs: checks.timeoutMs, address: checks.address },
    `the summary of ${kind}`,
  );
  return (await list<K, true>(kind, {
    ...options,
    limit: maxListRows,
    detail: true,
  })) as StateRows[K][1][];
}

async function summarizeTasks(options: StateOptions = {}): Promise<TaskSummary> {
  const groups: Record<string, { stateCounts: Record<string, number> } & TaskGroup> = {};
  const types: Record<string, number> = {};
  for (const row of await all("tasks", options)) {
    tally(types, row.type);
    groups[row.funcOrClassName] ??= {
      funcOrClassName: row.funcOrClassName,
      type: row.type,
      stateCounts: {},
    };
    tally(
      (groups[row.funcOrClassName] as { stateCounts: Record<string, number> }).stateCounts,
      row.state,
    );
  }
  return {
    summary: groups,
    totalTasks: types.NORMAL_TASK ?? 0,
    totalActorTasks: types.ACTOR_TASK ?? 0,
    totalActorScheduled: types.ACTOR_CREATION_TASK ?? 0,
  };
}

async function summarizeActors(options: StateOptions = {}): Promise<ActorSummary> {
  const groups: Record<string, { className: string; stateCounts: Record<string, number> }> = {};
  const rows = await all("actors", options);
  for (const { className, state } of rows) {
    groups[className] ??= { className, stateCounts: {} };
    tally((groups[className] as { stateCounts: Record<string, number> }).stateCounts, state);
  }
  return { summary: groups, totalActors: rows.length };
}

async function summarizeObjects(options: StateOptions = {}): Promise<ObjectSummary> {
  interface Group {
    totalObjects: number;
    totalSizeBytes: number;
    refTypeCounts: Record<string, number>;
  }
  const groups: Record<string, Group> = {};
  const sum = { totalObjects: 0, totalSizeBytes: 0 };
  for (const row of await all("objects", options)) {
    groups[row.callSite] ??= { totalObjects: 0, totalSizeBytes: 0, refTypeCounts: {} };
    const group = groups[row.callSite] as Group;
    for (const one of [group, sum]) {
      one.totalObjects++;
      one.totalSizeBytes += Math.max(0, row.objectSize);
    }
    tally(group.refTypeCounts, row.referenceType);
  }
  return { summary: groups, ...sum };
}

/**
 * What the runtime runs and holds: `state.listTasks({ filters: [["state", "=", "FAILED"]], detail: true })`,
 * `state.getActor(id)`, `state.summarizeTasks()`. Lists reject with InvalidOptionError for a filter or option that is none,
 * with GetTimeoutError when the answer is late; `get*` gives null when there is nothing of that id.
 */
export const state = {
  /** Attempts of tasks and method calls: the last that ended, oldest first, then those that wait. */
  listTasks: <D extends boolean = false>(options: ListOptions<"tasks", D> = {}) =>
    list<"tasks", D>("tasks", options),
  /** Actors, the last that died too. */
  listActors: <D extends boolean = false>(options: ListOptions<"actors", D> = {}) =>
    list<"actors", D>("actors", options),
  /** Objects of the store. */
  listObjects: <D extends boolean = false>(options: ListOptions<"objects", D> = {}) =>
    list<"objects", D>("objects", options),
  /** Workers and drivers, the last that ended too. */
  listWorkers: <D extends boolean = false>(options: ListOptions<"workers", D> = {}) =>
    list<"workers", D>("workers", options),
  /** Nodes. */
  listNodes: <D extends boolean = false>(options: ListOptions<"nodes", D> = {}) =>
    list<"nodes", D>("nodes", options),
  /** Drivers, the last that ended too. */
  listJobs: <D extends boolean = false>(options: ListOptions<"jobs", D> = {}) =>
    list<"jobs", D>("jobs", options),
  /** Placement groups, the last that were removed too. */
  listPlacementGroups: <D extends boolean = false>(
    options: ListOptions<"placementGroups", D> = {},
  ) => list<"placementGroups", D>("placementGroups", options),
  /** The newest attempt of a task, by its id or a ref of its result. */
  getTask: (id: string | ObjectRef<unknown>, options: StateOptions = {}) =>
    one("tasks", id, options),
  getActor: (id: string, options: StateOptions = {}) => one("actors", id, options),
  getObject: (id: string | ObjectRef<unknown>, options: StateOptions = {}) =>
    one("objects", id, options),
  getWorker: (id: string, options: StateOptions = {}) => one("workers", id, options),
  getNode: (id: string, options: StateOptions = {}) => one("nodes", id, options),
  getJob: (id: string, options: StateOptions = {}) => one("jobs", id, options),
  getPlacementGroup: (id: string, options: StateOptions = {}) =>
    one("placementGroups", id, options),
  /** How many tasks of each function are in which state. */
  summarizeTasks,
  /** How many actors of each class are in which state. */
  summarizeActors,
  /** How many objects there are, how big, by what made them. */
  summarizeObjects,
} as const;
