// SPDX-License-Identifier: Apache-2.0
// What ran when.

import { writeFile } from "node:fs/promises";
import { connection } from "../core/context.ts";
import { fetchTimeline } from "../core/state-request.ts";

/** An event of the trace form that chrome://tracing and Perfetto read. Times are microseconds. */
export interface TraceEvent {
  readonly name: string;
  /** "X": a run with its length; "M": the name of a process or lane. */
  readonly ph: "X" | "M";
  /** The worker's process. */
  readonly pid: number;
  readonly tid?: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

const timeoutMs = 60_000;

/** The runs of tasks and methods, of this runtime's last hundred thousand. With a file name they are written there as JSON too. */
export async function timeline(filename?: string): Promise<TraceEvent[]> {
  const rows = await fetchTimeline(connection(), timeoutMs);
  if (filename !== undefined) await writeFile(filename, JSON.stringify(rows));
  return rows as unknown as TraceEvent[];
}
