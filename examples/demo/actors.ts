// SPDX-License-Identifier: Apache-2.0
//
// The two TypeScript actors of the demo. Spark's Python workers find them by name and call them;
// the driver polls the first for its live lines and reads the second at the end.

import type { Table } from "apache-arrow";
import type { ObjectRef } from "polyray";

/** A partition of a data set, as its Spark worker sees it. */
export interface Where {
  readonly dataset: string;
  readonly partition: number;
  readonly pid: number;
}

/** What one partition has done so far. */
export interface PartitionProgress extends Where {
  readonly tasks: number;
  readonly done: number;
  readonly ended: boolean;
}

/** Counts the training tasks of every partition as they finish. */
export class Progress {
  readonly #partitions = new Map<string, PartitionProgress>();

  begin(start: Where & { tasks: number }): void {
    this.#partitions.set(key(start), { ...start, done: 0, ended: false });
  }

  step(where: Where): void {
    this.#change(where, (old) => ({ ...old, done: old.done + 1 }));
  }

  end(where: Where): void {
    this.#change(where, (old) => ({ ...old, ended: true }));
  }

  snapshot(): { pid: number; partitions: PartitionProgress[] } {
    return { pid: process.pid, partitions: [...this.#partitions.values()] };
  }

  #change(where: Where, step: (old: PartitionProgress) => PartitionProgress): void {
    const old = this.#partitions.get(key(where));
    if (old === undefined) throw new Error(`partition ${key(where)} has not begun`);
    this.#partitions.set(key(where), step(old));
  }
}

/** The hits of one model on one data set, over the partitions reported so far. */
export interface Standing {
  readonly dataset: string;
  readonly model: string;
  readonly correct: number;
  readonly total: number;
}

/** Sums the results of the partitions, and holds the references to their predictions. */
export class Leaderboard {
  readonly #standings = new Map<string, Standing>();
  readonly #pieces: ObjectRef<Table>[] = [];

  add(result: Standing): void {
    const name = `${result.dataset}/${result.model}`;
    const old = this.#standings.get(name);
    this.#standings.set(name, {
      ...result,
      correct: result.correct + (old?.correct ?? 0),
      total: result.total + (old?.total ?? 0),
    });
  }

  keep(pieces: ObjectRef<Table>[]): number {
    return this.#pieces.push(...pieces);
  }

  /** The best first. */
  standings(): { pid: number; standings: Standing[] } {
    const standings = [...this.#standings.values()];
    standings.sort((a, b) => b.correct / b.total - a.correct / a.total);
    return { pid: process.pid, standings };
  }

  pieces(): ObjectRef<Table>[] {
    return this.#pieces;
  }
}

function key(where: Where): string {
  return `${where.dataset}/${where.partition}`;
}
