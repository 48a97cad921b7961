// SPDX-License-Identifier: Apache-2.0
// `polyray memory`: what lies in the store, who holds it, what made it.

import { fetchRows, maxListRows, type WireRow } from "../../core/state-request.ts";
import type { ObjectHolder } from "../../core/state-rows.ts";
import { type AskFlags, ask } from "../ask.ts";
import { print, printJson, size, table } from "../table.ts";

export interface MemoryFlags extends AskFlags {
  readonly limit: number;
  readonly sortBy: "size" | "pid" | "age";
}

const holdersOf = (row: WireRow): ObjectHolder[] => row.holders as ObjectHolder[];
const bytesOf = (row: WireRow): number => Math.max(0, Number(row.object_size));

export async function memory(flags: MemoryFlags): Promise<void> {
  const { answer, stats } = await ask(flags, async (current, timeoutMs) => ({
    answer: await fetchRows(current, "objects", { limit: maxListRows, timeoutMs }),
    stats: (await current.request("store.stats")).stats as Record<string, number>,
  }));
  const rows = [...answer.rows];
  if (flags.sortBy === "size") rows.sort((a, b) => bytesOf(b) - bytesOf(a));
  if (flags.sortBy === "pid") rows.sort((a, b) => Number(a.pid) - Number(b.pid));
  const store = {
    used_bytes: stats.storeUsedBytes ?? 0,
    capacity_bytes: stats.storeCapacityBytes ?? 0,
    spilled_bytes: stats.spilledBytes ?? 0,
    spilled_objects: stats.spilledObjects ?? 0,
  };
  const holders = byHolder(rows);
  const shown = rows.slice(0, flags.limit);
  if (flags.json === true) return printJson({ store, holders, objects: shown });
  const lines = [
    `Object store: ${size(store.used_bytes)} of ${size(store.capacity_bytes)} in use, ${rows.length} objects; on disk: ${size(store.spilled_bytes)}`,
  ];
  if (rows.length > 0)
    lines.push(
      "",
      ...table(holders, [
        { title: "HOLDER", text: (one) => one.type.toLowerCase() },
        { title: "PID", text: (one) => (one.pid === 0 ? "-" : String(one.pid)), right: true },
        { title: "OBJECTS", text: (one) => String(one.objects), right: true },
        { title: "SIZE", text: (one) => size(one.bytes), right: true },
        { title: "IN PLACE", text: (one) => String(one.pinned), right: true },
      ]),
      "",
      ...table(shown, [
        { title: "OBJECT_ID", text: (row) => String(row.object_id) },
        { title: "SIZE", text: (row) => size(Number(row.object_size)), right: true },
        { title: "STATE", text: (row) => String(row.store_state).toLowerCase() },
        { title: "HELD BY", text: heldBy, cut: true },
        { title: "MADE BY", text: madeBy, cut: true },
      ]),
    );
  if (answer.filtered > shown.length)
    lines.push(`${shown.length} of ${answer.filtered} shown; --limit shows more.`);
  print(lines);
}

function heldBy(row: WireRow): string {
  const pids = holdersOf(row).map((one) => `${one.pid}${one.pinned ? "*" : ""}`);
  return pids.length === 0 ? "values" : pids.join(" ");
}

function madeBy(row: WireRow): string {
  return row.call_site === "put" ? `put by ${row.pid}` : String(row.call_site);
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
