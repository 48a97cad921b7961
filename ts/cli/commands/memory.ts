// SPDX-License-Identifier: Apache-2.0
// `polyray memory`: what lies in the store, who holds it, what made it.

import { fetchRows, maxListRows, type WireRow } from "../../core/state-request.ts";
import type { ObjectHolder } from "../../core/state-rows.ts";
import { type AskFlags, ask } from "../ask.ts";
import { print, printJson, size, table } from "../table.ts";

export interface MemoryFlags extends AskFlags {
  readonly limit: number;
  readonly sortBy: "size" | "pid" | "type" | "age";
  readonly groupBy?: "node" | "maker";
  readonly units?: keyof typeof unitBytes;
  readonly statsOnly?: true;
  readonly numEntries?: number;
  /** Ray's short form of it. */
  readonly n?: number;
}

const unitBytes = { B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };

const holdersOf = (row: WireRow): ObjectHolder[] => row.holders as ObjectHolder[];
const bytesOf = (row: WireRow): number => Math.max(0, Number(row.object_size));

export async function memory(flags: MemoryFlags): Promise<void> {
  const { answer, stats } = await ask(flags, async (current, timeoutMs) => ({
    answer:
      flags.statsOnly === true
        ? null
        : await fetchRows(current, "objects", { limit: maxListRows, timeoutMs }),
    stats: (await current.request("store.stats")).stats as Record<string, number>,
  }));
  const store = {
    used_bytes: stats.storeUsedBytes ?? 0,
    capacity_bytes: stats.storeCapacityBytes ?? 0,
    spilled_bytes: stats.spilledBytes ?? 0,
    spilled_objects: stats.spilledObjects ?? 0,
  };
  const sized = sizesIn(flags.units);
  const used = `Object store: ${sized(store.used_bytes)} of ${sized(store.capacity_bytes)} in use`;
  const onDisk = `on disk: ${sized(store.spilled_bytes)}`;
  if (answer === null) {
    if (flags.json === true) return printJson({ store });
    return print([`${used}; ${onDisk}`]);
  }
  const rows = sorted(answer.rows, flags.sortBy);
  const holders = byHolder(rows);
  const groups = byGroup(rows, flags);
  const shown = groups.reduce((sum, group) => sum + group.objects.length, 0);
  if (flags.json === true) {
    const objects = { objects: groups.flatMap((group) => group.objects) };
    return printJson({ store, holders, ...(flags.groupBy === undefined ? objects : { groups }) });
  }
  const lines = [`${used}, ${rows.length} objects; ${onDisk}`];
  if (rows.length > 0) lines.push("", ...holderLines(holders, sized));
  for (const group of groups) {
    if (flags.groupBy !== undefined)
      lines.push("", `${group.group}: ${group.total_objects} objects, ${sized(group.total_bytes)}`);
    if (group.objects.length > 0) lines.push("", ...objectLines(group.objects, sized));
  }
  if (answer.filtered > shown)
    lines.push(
      `${shown} of ${answer.filtered} shown; ${flags.groupBy === undefined ? "--limit" : "--num-entries"} shows more.`,
    );
  print(lines);
}

type Sized = (bytes: number) => string;

function sizesIn(unit: MemoryFlags["units"]): Sized {
  if (unit === undefined) return size;
  return (bytes) =>
    bytes < 0
      ? "-"
      : unit === "B"
        ? `${bytes} B`
        : `${(bytes / unitBytes[unit]).toFixed(2)} ${unit}`;
}

function sorted(rows: readonly WireRow[], by: MemoryFlags["sortBy"]): WireRow[] {
  const found = [...rows];
  if (by === "size") found.sort((a, b) => bytesOf(b) - bytesOf(a));
  if (by === "pid") found.sort((a, b) => Number(a.pid) - Number(b.pid));
  if (by === "type")
    found.sort((a, b) => (String(a.reference_type) < String(b.reference_type) ? -1 : 1));
  return found;
}

function holderLines(holders: readonly HolderSum[], sized: Sized): string[] {
  return table(holders, [
    { title: "HOLDER", text: (one) => one.type.toLowerCase() },
    { title: "PID", text: (one) => (one.pid === 0 ? "-" : String(one.pid)), right: true },
    { title: "OBJECTS", text: (one) => String(one.objects), right: true },
    { title: "SIZE", text: (one) => sized(one.bytes), right: true },
    { title: "IN PLACE", text: (one) => String(one.pinned), right: true },
  ]);
}

function objectLines(rows: readonly WireRow[], sized: Sized): string[] {
  return table(rows, [
    { title: "OBJECT_ID", text: (row) => String(row.object_id) },
    { title: "SIZE", text: (row) => sized(Number(row.object_size)), right: true },
    { title: "STATE", text: (row) => String(row.store_state).toLowerCase() },
    { title: "HELD BY", text: heldBy, cut: true },
    { title: "MADE BY", text: madeBy, cut: true },
  ]);
}

function heldBy(row: WireRow): string {
  const pids = holdersOf(row).map((one) => `${one.pid}${one.pinned ? "*" : ""}`);
  return pids.length === 0 ? "values" : pids.join(" ");
}

function madeBy(row: WireRow): string {
  return row.call_site === "put" ? `put by ${row.pid}` : String(row.call_site);
}

interface Group {
  readonly group: string;
  readonly total_objects: number;
  readonly total_bytes: number;
  /** Those that are shown. */
  readonly objects: readonly WireRow[];
}

// Groups keep the order of their first rows; without a grouping all rows are one.
function byGroup(rows: readonly WireRow[], flags: MemoryFlags): Group[] {
  const most = flags.numEntries ?? flags.n ?? flags.limit;
  const found = new Map<string, WireRow[]>();
  for (const row of rows) {
    const key =
      flags.groupBy === "node"
        ? String(row.ip)
        : flags.groupBy === "maker"
          ? String(row.call_site)
          : "all";
    const group = found.get(key);
    if (group === undefined) found.set(key, [row]);
    else group.push(row);
  }
  return [...found].map(([group, all]) => ({
    group,
    total_objects: all.length,
    total_bytes: all.reduce((sum, row) => sum + bytesOf(row), 0),
    objects: all.slice(0, most),
  }));
}

interface HolderSum {
  readonly pid: number;
  readonly type: string;
  objects: number;
  bytes: number;
  pinned: number;
}

// An object counts for each of its holders; those that no process holds lie inside of other values.
function byHolder(rows: readonly WireRow[]): HolderSum[] {
  const sums = new Map<string, HolderSum>();
  const add = (type: string, pid: number, row: WireRow, pinned: boolean): void => {
    const key = `${type} ${pid}`;
    const sum = sums.get(key) ?? { pid, type, objects: 0, bytes: 0, pinned: 0 };
    sums.set(key, sum);
    sum.objects++;
    sum.bytes += bytesOf(row);
    if (pinned) sum.pinned++;
  };
  for (const row of rows) {
    for (const one of holdersOf(row)) add(one.type, one.pid, row, one.pinned);
    if (holdersOf(row).length === 0) add("VALUES", 0, row, false);
  }
  return [...sums.values()].sort((a, b) => b.bytes - a.bytes);
}
