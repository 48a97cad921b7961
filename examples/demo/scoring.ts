// SPDX-License-Identifier: Apache-2.0
//
// Scoring in TypeScript. `macroF1` is called from Spark's Python workers, `scoreModel` by the
// driver: both run in polyray's Node workers. Columns are read as typed arrays over the object's
// own bytes; nothing is copied out of the table.

import type { Table } from "apache-arrow";
import { storeStats } from "polyray";

/** A model's score on one data set. `matrix[label][prediction]` counts rows. */
export interface ModelScore {
  readonly correct: number;
  readonly top2: number;
  readonly total: number;
  readonly matrix: number[][];
  readonly pid: number;
  readonly sharedBytes: number;
}

/** The mean over the classes present of the F1 score, as scikit-learn's `average="macro"`. */
export function macroF1(labels: Int32Array, predictions: Int32Array): number {
  const hits = new Map<number, number>();
  const sizes = new Map<number, number>();
  const count = (map: Map<number, number>, name: number) => map.set(name, (map.get(name) ?? 0) + 1);
  labels.forEach((label, row) => {
    const prediction = predictions[row] as number;
    count(sizes, label);
    count(sizes, prediction);
    if (label === prediction) count(hits, label);
  });
  let sum = 0;
  for (const [name, size] of sizes) sum += (2 * (hits.get(name) ?? 0)) / size;
  return sum / sizes.size;
}

/** Scores one model on one data set, out of the table of all predictions. */
export async function scoreModel(
  table: Table,
  dataset: number,
  config: number,
  classes: number,
): Promise<ModelScore> {
  const datasets = int32Column(table, "dataset_id");
  const configs = int32Column(table, "config_id");
  const labels = int32Column(table, "label");
  const predictions = int32Column(table, "prediction");
  const scores = scoresColumn(table);
  const width = scores.length / table.numRows;
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  let correct = 0;
  let top2 = 0;
  let total = 0;
  for (let row = 0; row < table.numRows; row++) {
    if (datasets[row] !== dataset || configs[row] !== config) continue;
    const label = labels[row] as number;
    const prediction = predictions[row] as number;
    const counts = matrix[label] as number[];
    counts[prediction] = (counts[prediction] ?? 0) + 1;
    total++;
    if (label === prediction) correct++;
    if (rankOf(label, scores.subarray(row * width, (row + 1) * width)) <= 2) top2++;
  }
  const bytes = await sharedBytes(table);
  return { correct, top2, total, matrix, pid: process.pid, sharedBytes: bytes };
}

/** How many classes score at least as high as `label` (1 = it is the likeliest). */
function rankOf(label: number, scores: Float32Array): number {
  const own = scores[label] as number;
  return scores.reduce((rank, score) => (score >= own ? rank + 1 : rank), 0);
}

/**
 * The bytes of the table's object if this process reads them in place, else 0. All columns must be
 * views of one buffer, and the runtime must count that many bytes as mapped from the store here: a
 * copied object is not among them.
 */
export async function sharedBytes(table: Table): Promise<number> {
  const buffers = new Set(
    table.schema.fields.map((field) => {
      const data = table.getChild(field.name)?.data[0];
      return (data?.values ?? data?.children[0]?.values)?.buffer as ArrayBuffer | undefined;
    }),
  );
  const [buffer] = buffers;
  if (buffers.size !== 1 || buffer === undefined) return 0;
  const { liveViewBytes } = await storeStats();
  return buffer.byteLength <= liveViewBytes ? buffer.byteLength : 0;
}

/** A column without nulls that lies in one piece, as the typed array under it. */
function int32Column(table: Table, name: string): Int32Array {
  const values = onlyChunk(table, name).values;
  if (!(values instanceof Int32Array)) throw new TypeError(`column ${name} is not int32`);
  return values;
}

function scoresColumn(table: Table): Float32Array {
  const values = onlyChunk(table, "scores").children[0]?.values;
  if (!(values instanceof Float32Array))
    throw new TypeError("column scores is not a list of float32");
  return values;
}

function onlyChunk(table: Table, name: string) {
  const chunks = table.getChild(name)?.data;
  const chunk = chunks?.[0];
  if (chunk === undefined || chunks?.length !== 1) {
    throw new TypeError(
      `column ${name} must be there, in one piece; it has ${chunks?.length ?? 0}`,
    );
  }
  return chunk;
}
