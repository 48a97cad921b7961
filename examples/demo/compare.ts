// SPDX-License-Identifier: Apache-2.0
//
// Puts what Python, the leaderboard and the TypeScript tasks say side by side, and insists that they
// agree. Pure functions.

import type { Standing } from "./actors.ts";
import type { Crossing, ModelLine, Role } from "./report.ts";
import type { ModelScore } from "./scoring.ts";
import type { PartitionResult } from "./spark-driver.ts";

/** A score with the names of what was scored. */
export interface Score extends ModelScore {
  readonly dataset: string;
  readonly model: string;
}

/** All scores, and what the driver itself read in place. */
export interface Scored {
  readonly scores: readonly Score[];
  readonly driverBytes: number;
  readonly rows: number;
}

/** One line for each model and data set, the best of each data set first. Throws when the counts differ. */
export function compareModels(
  results: readonly PartitionResult[],
  standings: readonly Standing[],
  scores: readonly Score[],
): ModelLine[] {
  const lines = scores.map((score): ModelLine => {
    const same = (each: { dataset: string; model: string }) =>
      each.dataset === score.dataset && each.model === score.model;
    const partitions = results.filter(same);
    const standing = standings.find(same);
    const correct = sum(partitions.map((each) => each.correct));
    const total = sum(partitions.map((each) => each.total));
    const counts = [
      `Python ${correct}/${total}`,
      `leaderboard ${standing?.correct}/${standing?.total}`,
      `TypeScript ${score.correct}/${score.total}`,
    ];
    if (new Set(counts.map((each) => each.split(" ")[1])).size !== 1 || total === 0) {
      throw new Error(
        `${score.model} on ${score.dataset}: the counts differ: ${counts.join(", ")}`,
      );
    }
    return {
      dataset: score.dataset,
      model: score.model,
      python: correct / total,
      typescript: score.correct / score.total,
      top2: score.top2 / score.total,
      macroF1: sum(partitions.map((each) => each.macro_f1 * each.total)) / total,
    };
  });
  return lines.sort((a, b) => a.dataset.localeCompare(b.dataset) || b.python - a.python);
}

/** Which processes did what. */
export function roles(
  pids: { progress: number; leaderboard: number; spark: number; jvm: number },
  results: readonly PartitionResult[],
  scored: Scored,
): Role[] {
  return [
    { role: "driver, node and GCS", where: "Node, this program", pids: [process.pid] },
    { role: "progress actor", where: "Node worker", pids: [pids.progress] },
    { role: "leaderboard actor", where: "Node worker", pids: [pids.leaderboard] },
    {
      role: "scoring tasks",
      where: "Node workers",
      pids: distinct(scored.scores.map((each) => each.pid)),
    },
    { role: "Spark driver actor", where: "Python worker", pids: [pids.spark] },
    {
      role: "training tasks",
      where: "Python workers",
      pids: distinct(results.flatMap((each) => each.worker_pids)),
    },
    { role: "Spark itself", where: "JVM, child of its actor", pids: [pids.jvm] },
    {
      role: "partitions",
      where: "Spark's Python workers",
      pids: distinct(results.map((each) => each.spark_pid)),
    },
  ];
}

/** How many bytes were read in place. */
export function crossings(results: readonly PartitionResult[], scored: Scored): Crossing[] {
  return [
    {
      what: "rows, Spark worker to training tasks",
      bytes: sum(results.map((each) => each.shared_bytes)),
      reads: sum(results.map((each) => each.shared_reads)),
    },
    {
      what: "predictions, Python to scoring tasks",
      bytes: sum(scored.scores.map((each) => each.sharedBytes)),
      reads: scored.scores.filter((each) => each.sharedBytes > 0).length,
    },
    {
      what: "predictions, Python to the driver",
      bytes: scored.driverBytes,
      reads: scored.driverBytes > 0 ? 1 : 0,
    },
  ];
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}

function distinct(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b);
}
