// SPDX-License-Identifier: Apache-2.0
//
// What a run gathers: the outcomes of every round, and their medians.

import type { Outcome } from "./child.ts";
import type { Machine } from "./machine.ts";
import type { Contestant } from "./options.ts";
import type { Start } from "./startup.ts";

/** A contestant's figure for a row. */
export interface Figure {
  /** The median over the rounds that gave a value; null when none did. */
  readonly median: number | null;
  readonly values: readonly number[];
  /** Why there is no value, or what failed in some rounds. */
  readonly reasons: readonly string[];
}

/** A whole run. */
export class Results {
  readonly versions: Partial<Record<Contestant, string>> = {};
  readonly starts: Partial<Record<Contestant, Start[]>> = {};
  /** What rows told besides their value, by contestant and row: that of the last round. */
  readonly notes = new Map<string, string>();
  readonly #outcomes = new Map<string, Outcome[]>();
  machine: Machine | null = null;
  loadBefore = "";
  loadAfter = "";
  settings = "";
  date = "";

  add(contestant: Contestant, row: string, outcome: Outcome): void {
    const key = `${contestant}\n${row}`;
    const outcomes = this.#outcomes.get(key) ?? [];
    outcomes.push(outcome);
    this.#outcomes.set(key, outcomes);
  }

  addStart(contestant: Contestant, start: Start): void {
    this.starts[contestant] = [...(this.starts[contestant] ?? []), start];
  }

  /** Null when the contestant was not asked for that row. */
  figure(contestant: Contestant, row: string): Figure | null {
    const outcomes = this.#outcomes.get(`${contestant}\n${row}`);
    if (outcomes === undefined) return null;
    const values = outcomes.flatMap((one) => (one.kind === "value" ? [one.value] : []));
    const reasons = outcomes.flatMap((one) =>
      one.kind === "value"
        ? []
        : [one.kind === "skipped" ? `not measured: ${one.reason}` : `failed: ${one.reason}`],
    );
    return {
      median: values.length === 0 ? null : median(values),
      values,
      reasons: [...new Set(reasons)],
    };
  }

  toJSON(): unknown {
    const figures = [...this.#outcomes.keys()].map((key) => {
      const [contestant, row] = key.split("\n") as [Contestant, string];
      return { contestant, row, ...this.figure(contestant, row) };
    });
    const { date, machine, loadBefore, loadAfter, settings, versions, starts } = this;
    const notes = Object.fromEntries(this.notes);
    return { notes, date, machine, loadBefore, loadAfter, settings, versions, figures, starts };
  }
}

/** The middle value, or the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
