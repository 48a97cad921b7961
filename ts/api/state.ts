// SPDX-License-Identifier: Apache-2.0
// The state API: what the runtime runs and holds now, and what lately ended: lists, single rows, summaries.
//
// The node service filters and cuts. Rows are right within a second. Nothing is collected while nobody asks.

import { InvalidOptionError } from "../base/errors.ts";
import { checkOptions, checks } from "../core/checks.ts";
import type { Connection } from "../core/connection.ts";
import { connectionOrNull } from "../core/context.ts";
import { fetchRows, maxListRows, type RowAnswer, type WireFilter } from "../core/state-request.ts";
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
import {
  type ActorSummary,
  actorSummary,
  type ObjectSummary,
  objectSummary,
  type TaskSummary,
  taskSummary,
} from "./state-summary.ts";

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
const defaultTimeoutMs = 30_000;

const stateChecks = {
  timeoutMs: checks.positiveMs,
  address: checks.text,
};
const listChecks = {
  ...stateChecks,
  filters: (v: unknown) => (Array.isArray(v) ? null : 'a list such as [["state", "=", "FAILED"]]'),
  limit: (v: unknown) =>
    Number.isInteger(v) && (v as number) > 0 && (v as number) <= maxListRows
      ? null
      : `a whole number from 1 to ${maxListRows}`,
  detail: checks.bool,
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
  checkOptions(options, listChecks, `the list of ${kind}`);
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

async function all<K extends StateKind>(
  kind: K,
  options: StateOptions,
): Promise<StateRows[K][1][]> {
  checkOptions(options, stateChecks, `the summary of ${kind}`);
  return (await list<K, true>(kind, {
    ...options,
    limit: maxListRows,
    detail: true,
  })) as StateRows[K][1][];
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
  summarizeTasks: async (options: StateOptions = {}): Promise<TaskSummary> =>
    taskSummary(await all("tasks", options)),
  /** How many actors of each class are in which state. */
  summarizeActors: async (options: StateOptions = {}): Promise<ActorSummary> =>
    actorSummary(await all("actors", options)),
  /** How many objects there are, how big, by what made them. */
  summarizeObjects: async (options: StateOptions = {}): Promise<ObjectSummary> =>
    objectSummary(await all("objects", options)),
} as const;
