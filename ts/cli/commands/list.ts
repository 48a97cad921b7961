// SPDX-License-Identifier: Apache-2.0
// `polyray list KIND`, `polyray get KIND ID`, `polyray summary KIND`: the state API on the command line, with Ray's names of
// kinds and fields.

import { wireFilters } from "../../api/state.ts";
import {
  actorSummary,
  type ObjectSummary,
  objectSummary,
  type TaskGroup,
  taskSummary,
} from "../../api/state-summary.ts";
import { InvalidOptionError, SystemError } from "../../base/errors.ts";
import {
  fetchRows,
  maxListRows,
  type RowAnswer,
  type WireFilter,
  type WireRow,
} from "../../core/state-request.ts";
import {
  rowOf,
  type StateKind,
  type StateRows,
  stateFields,
  stateIds,
  wireKind,
  wireName,
} from "../../core/state-rows.ts";
import { type AskFlags, ask } from "../ask.ts";
import { block, type Column, print, printJson, size, table, when } from "../table.ts";

export interface ListFlags extends AskFlags {
  readonly filter?: readonly string[];
  readonly limit: number;
  readonly detail?: true;
  readonly format?: "default" | "table" | "json" | "yaml";
}

/** The kinds as they are said on the command line. */
export const kinds: Readonly<Record<string, StateKind>> = {
  tasks: "tasks",
  actors: "actors",
  objects: "objects",
  workers: "workers",
  nodes: "nodes",
  jobs: "jobs",
  "placement-groups": "placementGroups",
};

const notRecorded = ["runtime-envs", "cluster-events"];

const text = (value: unknown): string =>
  value === null || value === undefined || value === "" ? "-" : String(value);
const field = (
  title: string,
  key: string,
  more: Partial<Column<WireRow>> = {},
): Column<WireRow> => ({
  title,
  text: (row) => text(row[key]),
  ...more,
});
const cut = { cut: true };
const right = { right: true };

const columns: { readonly [K in StateKind]: readonly Column<WireRow>[] } = {
  tasks: [
    field("TASK_ID", "task_id"),
    field("NAME", "name", cut),
    field("STATE", "state"),
    field("PID", "worker_pid", right),
    {
      title: "TRY",
      text: (row) => (row.attempt_number === 0 ? "-" : text(row.attempt_number)),
      right: true,
      optional: true,
    },
    field("ERROR", "error_type", { cut: true, optional: true }),
  ],
  actors: [
    field("ACTOR_ID", "actor_id"),
    field("CLASS", "class_name", cut),
    field("STATE", "state"),
    field("NAME", "name", { cut: true, optional: true }),
    field("PID", "pid", right),
  ],
  objects: [
    field("OBJECT_ID", "object_id"),
    { title: "SIZE", text: (row) => size(Number(row.object_size)), right: true },
    field("REFERENCE", "reference_type", cut),
    field("PID", "pid", right),
    field("MADE_BY", "call_site", cut),
  ],
  workers: [
    field("PID", "pid", right),
    field("TYPE", "worker_type"),
    { title: "ALIVE", text: (row) => (row.is_alive === true ? "yes" : "no") },
    field("WORKER_ID", "worker_id"),
    field("EXIT", "exit_detail", { cut: true, optional: true }),
  ],
  nodes: [field("NODE_ID", "node_id"), field("IP", "node_ip", cut), field("STATE", "state")],
  jobs: [
    field("JOB_ID", "job_id"),
    field("STATUS", "status"),
    { title: "PID", text: (row) => text((row.driver_info as WireRow)?.pid), right: true },
    { title: "STARTED", text: (row) => when(Number(row.start_time)) },
    field("ENTRYPOINT", "entrypoint", cut),
  ],
  placementGroups: [
    field("PLACEMENT_GROUP_ID", "placement_group_id"),
    field("NAME", "name", cut),
    field("STATE", "state"),
    {
      title: "BUNDLES",
      text: (row) =>
        (row.bundles as { unit_resources: object }[])
          .map((one) => JSON.stringify(one.unit_resources))
          .join(" "),
      cut: true,
    },
  ],
};

/** The kind of a word, singular or plural. Throws InvalidOptionError naming the kinds. */
export function kindOf(word: string, allowed = Object.keys(kinds)): StateKind {
  const plural = allowed.find((name) => name === word || name === `${word}s`);
  if (plural !== undefined) return kinds[plural] as StateKind;
  if (notRecorded.includes(word))
    throw new SystemError(
      `[not supported] ${word} are not recorded yet, so there is nothing to list.`,
    );
  throw new InvalidOptionError(
    `[invalid option] "${word}" is no kind of state. Kinds: ${allowed.join(", ")}.`,
  );
}

function filtersOf(kind: StateKind, given: readonly string[] = []): WireFilter[] {
  const parts = given.map((one) => {
    const found = /^\s*([\w-]+)\s*(!?=)\s*(.*?)\s*$/s.exec(one);
    if (found === null)
      throw new InvalidOptionError(
        `[invalid option] --filter takes key=value or key!=value, not "${one}". For example: --filter state=FAILED.`,
      );
    return [String(found[1]).replace(/-/g, "_"), found[2], found[3]] as const;
  });
  return wireFilters(
    kind,
    parts.map((one) => [...one]),
  );
}

function rowsOf(
  flags: AskFlags,
  kind: StateKind,
  filters: WireFilter[],
  limit: number,
): Promise<RowAnswer> {
  return ask(flags, (current, timeoutMs) =>
    fetchRows(current, wireKind(kind), { filters, limit, timeoutMs }),
  );
}

/** A row as it is told to machines: Ray's names. */
function told(kind: StateKind, row: WireRow, detail: boolean): WireRow {
  const fields = Object.entries(stateFields[kind]).filter(([, part]) => detail || part === "base");
  return Object.fromEntries(fields.map(([name]) => [wireName(name), row[wireName(name)] ?? null]));
}

export async function list(word: string, flags: ListFlags): Promise<void> {
  const kind = kindOf(word);
  if (!Number.isInteger(flags.limit) || flags.limit < 1 || flags.limit > maxListRows)
    throw new InvalidOptionError(
      `[invalid option] --limit is a whole number from 1 to ${maxListRows}.`,
    );
  const { rows, filtered } = await rowsOf(flags, kind, filtersOf(kind, flags.filter), flags.limit);
  const format = flags.json === true ? "json" : (flags.format ?? "default");
  const detail = flags.detail === true;
  const more =
    filtered > rows.length
      ? [
          `${rows.length} of ${filtered} shown; --limit ${Math.min(filtered, maxListRows)} shows more.`,
        ]
      : [];
  if (format === "json") {
    printJson(rows.map((row) => told(kind, row, detail)));
    for (const line of more) process.stderr.write(`${line}\n`);
    return;
  }
  if (rows.length === 0) return print([`No ${word.endsWith("s") ? word : `${word}s`} match.`]);
  if (format === "yaml" || (format === "default" && detail)) {
    print(rows.flatMap((row) => ["---", ...block(told(kind, row, detail))]));
    if (format === "yaml") for (const line of more) process.stderr.write(`${line}\n`);
    else print(more);
    return;
  }
  print([...table(rows, columns[kind]), ...more]);
}

export async function get(word: string, id: string, flags: AskFlags): Promise<void> {
  const kind = kindOf(word);
  const key = wireName(stateIds[kind]);
  const { rows } = await rowsOf(flags, kind, [[key, "=", id]], maxListRows);
  if (rows.length === 0)
    throw new SystemError(
      `[not found] there is no ${word.replace(/s$/, "")} of the id ${id}. \`polyray list ${Object.keys(kinds).find((name) => kinds[name] === kind)}\` shows the ids.`,
    );
  const all = rows.map((row) => told(kind, row, true));
  if (flags.json === true) return printJson(all.length === 1 ? all[0] : all);
  print(all.flatMap((row, i) => (i === 0 ? block(row) : ["---", ...block(row)])));
}

export async function summary(word: string, flags: AskFlags): Promise<void> {
  const kind = kindOf(word, ["tasks", "actors", "objects"]);
  const { rows } = await rowsOf(flags, kind, [], maxListRows);
  if (kind === "objects") return showObjects(objectSummary(detailed(kind, rows)), flags);
  const { summary: groups } =
    kind === "tasks"
      ? taskSummary(detailed("tasks", rows))
      : actorSummary(detailed("actors", rows));
  if (flags.json === true)
    return printJson({ total: rows.length, summary: withWireNames(Object.entries(groups)) });
  type Group = readonly [string, Partial<TaskGroup>];
  const shown = (states: Readonly<Record<string, number>> = {}): string =>
    Object.entries(states)
      .map(([state, n]) => `${state}: ${n}`)
      .join(", ");
  const list: Column<Group>[] = [
    { title: kind === "tasks" ? "FUNCTION" : "CLASS", text: ([name]) => name, cut: true },
    ...(kind === "tasks" ? [{ title: "TYPE", text: ([, one]: Group) => text(one.type) }] : []),
    { title: "STATES", text: ([, one]) => shown(one.stateCounts), cut: true },
  ];
  print([`${rows.length} ${word}`, "", ...table(Object.entries(groups), list)]);
}

const detailed = <K extends StateKind>(kind: K, rows: readonly WireRow[]): StateRows[K][1][] =>
  rows.map((row) => rowOf(kind, row, true) as StateRows[K][1]);

function withWireNames(groups: readonly (readonly [string, object])[]): WireRow {
  const told = (group: object): WireRow =>
    Object.fromEntries(Object.entries(group).map(([name, value]) => [wireName(name), value]));
  return Object.fromEntries(groups.map(([name, group]) => [name, told(group)]));
}

function showObjects({ summary: groups, ...totals }: ObjectSummary, flags: AskFlags): void {
  const found = Object.entries(groups).sort(([, a], [, b]) => b.totalSizeBytes - a.totalSizeBytes);
  if (flags.json === true)
    return printJson({
      total_objects: totals.totalObjects,
      total_size_bytes: totals.totalSizeBytes,
      summary: withWireNames(found),
    });
  print([
    `${totals.totalObjects} objects, ${size(totals.totalSizeBytes)}`,
    "",
    ...table(found, [
      { title: "MADE_BY", text: ([name]) => name, cut: true },
      { title: "OBJECTS", text: ([, one]) => String(one.totalObjects), right: true },
      { title: "SIZE", text: ([, one]) => size(one.totalSizeBytes), right: true },
    ]),
  ]);
}
