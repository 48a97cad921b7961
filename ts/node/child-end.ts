// SPDX-License-Identifier: Apache-2.0
// How a child process of this process ended, seen from a thread that does not reap it.
//
// The kernel keeps an ended child with its wait status until it is reaped, which the loop that started it does; that loop may
// be blocked. Reads /proc only: who reaped the child here would take its end from that loop.

import { readFileSync } from "node:fs";
import { constants } from "node:os";

/** How a child ended, or why it never began. */
export interface ChildEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly why: string | null;
}

/** "runs"; "reaped": it ended, and how was told to the thread that started it; else how it ended. */
export function childEnd(pid: number): "runs" | "reaped" | ChildEnd {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return "reaped";
  }
  // The name, in parentheses, may hold anything: what follows it starts with field 3, the state. Field 52 is the wait status.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] !== "Z") return "runs";
  const status = Number(fields[52 - 3]);
  const signal = status & 0x7f;
  return signal === 0
    ? { exitCode: (status >> 8) & 0xff, signal: null, why: null }
    : { exitCode: null, signal: signalName(signal), why: null };
}

/** "SIGKILL" of 9. */
export function signalName(number: number): string {
  const named = Object.entries(constants.signals).find(([, value]) => value === number);
  return named?.[0] ?? `signal ${number}`;
}
