// SPDX-License-Identifier: Apache-2.0
//
// What a run gathers: the outcomes of every round, and their medians.

import type { Outcome } from "./child.ts";
import type { Growth } from "./growth.ts";
import type { Machine } from "./machine.ts";
import type { Contestant } from "./options.ts";
import type { Start } from "./startup.ts";

/** A contestant's figure for a row. */
export interface Figure {
  /** The median over the rounds that gave a value; null when none did. */
  readonly median: number | null;
  readonly values: readonly number[];
  /** Latencies of single calls over all rounds, microseconds; null for rows that are not timed so. */
  readonly latency: Latency | null;
  /** Processor time of all its processes for one unit, microseconds: the median of the rounds. */
  readonly cpuUs: number | null;
  /** Why there is no value, or what failed in some rounds. */
  readonly reasons: readonly string[];
}

/** Percentiles of the calls of a row, microseconds. */
export interface Latency {
  readonly calls: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
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
  readonly growth: Growth[] = [];

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
    const samples = outcomes.flatMap((one) =>
      one.kind === "value" && one.latencyUs !== undefined ? [one.latencyUs] : [],
    );
    const cpu = outcomes.flatMap((one) =>
      one.kind === "value" && one.cpuUs !== undefined ? [one.cpuUs] : [],
    );
    return {
      latency: samples.length === 0 ? null : latency(samples),
      cpuUs: cpu.length === 0 ? null : median(cpu),
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
    const { growth } = this;
    return {
      growth,
      notes,
      date,
      machine,
      loadBefore,
      loadAfter,
      settings,
      versions,
      figures,
      starts,
    };
  }
}

/** The middle value, or the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The value below which a share of the sorted values lies: nearest rank. REQUIRES: at least one. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  const rank = Math.ceil(share * sorted.length);
  return sorted[Math.min(sorted.length, Math.max(1, rank)) - 1]!;
}

/** The percentiles of all calls of all rounds together. */
export function latency(rounds: readonly Float32Array[]): Latency {
  const all = new Float32Array(rounds.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of rounds) {
    all.set(one, at);
    at += one.length;
  }
  all.sort();
  const of = (share: number) => percentile(all, share);
  return { calls: all.length, p50: of(0.5), p90: of(0.9), p99: of(0.99), max: of(1) };
}
