// SPDX-License-Identifier: Apache-2.0
//
// Goal: the parts of the demo that judge tell wrong from right: the counts of the languages, the
// confusion matrix, and the bytes read in place. Method: each part on small data, without Spark.

import {
  Field,
  FixedSizeList,
  Float32,
  Int32,
  makeData,
  Table,
  tableFromIPC,
  tableToIPC,
  Vector,
} from "apache-arrow";
import { get, init, put, shutdown } from "polyray";
import t from "tap";
import { compareModels } from "../../examples/demo/compare.ts";
import { macroF1, scoreModel, sharedBytes } from "../../examples/demo/scoring.ts";

t.before(() => init({ numCpus: 1, objectStoreMemory: "64MB" }));
t.teardown(() => shutdown());

const width = 10;

/** A table as the demo's Python half makes it, of `rows` rows; the label is the row modulo two. */
function predictions(rows: number, prediction: (row: number) => number): Table {
  const numbers = (of: (row: number) => number) =>
    new Vector([
      makeData({ type: new Int32(), data: Int32Array.from({ length: rows }, (_, row) => of(row)) }),
    ]);
  const values = makeData({
    type: new Float32(),
    data: Float32Array.from({ length: rows * width }, (_, at) =>
      at % width === prediction(Math.floor(at / width)) ? 1 : 0,
    ),
  });
  const type = new FixedSizeList(width, new Field("item", new Float32(), true));
  const made = new Table({
    dataset_id: numbers(() => 0),
    config_id: numbers((row) => (row < rows / 2 ? 3 : 4)),
    label: numbers((row) => row % 2),
    prediction: numbers(prediction),
    scores: new Vector([makeData({ type, length: rows, nullCount: 0, child: values })]),
  });
  return tableFromIPC(tableToIPC(made, "stream"));
}

t.test(
  "a table out of the store counts as read in place, one of this program's own does not",
  async (t) => {
    const own = predictions(2000, () => 0);
    t.equal(await sharedBytes(own), 0, "nothing of the store is mapped yet");
    const stored = await get(put(own));
    const bytes = await sharedBytes(stored);
    t.ok(bytes >= 2000 * (4 * 4 + 4 * width), `${bytes} bytes: all columns`);
  },
);

t.test("scoring counts the rows of one model in a confusion matrix", async (t) => {
  const table = predictions(8, (row) => (row < 4 ? row % 2 : 0));
  const right = await scoreModel(table, 0, 3, 2);
  t.match(right, {
    correct: 4,
    total: 4,
    top2: 4,
    matrix: [
      [2, 0],
      [0, 2],
    ],
  });
  const wrong = await scoreModel(table, 0, 4, 2);
  t.match(wrong, {
    correct: 2,
    total: 4,
    matrix: [
      [2, 0],
      [2, 0],
    ],
  });
  t.equal((await scoreModel(table, 1, 3, 2)).total, 0, "no row of another data set");
});

t.test("macro F1 is the mean over the classes", (t) => {
  t.equal(macroF1(Int32Array.of(0, 1, 0, 1), Int32Array.of(0, 1, 0, 1)), 1);
  t.equal(macroF1(Int32Array.of(0, 0, 1, 1), Int32Array.of(0, 0, 0, 0)), 1 / 3);
  t.end();
});

t.test("counts that differ between the languages fail the demo", (t) => {
  const of = { dataset: "digits", model: "SVC()" };
  const result = {
    ...of,
    partition: 0,
    correct: 9,
    total: 10,
    macro_f1: 0.9,
    train_seconds: 1,
    shared_bytes: 0,
    shared_reads: 0,
    spark_pid: 1,
    worker_pids: [],
    model_sha256: "",
  };
  const standing = { ...of, correct: 9, total: 10 };
  const score = { ...of, correct: 9, top2: 10, total: 10, matrix: [], pid: 1, sharedBytes: 0 };
  t.match(compareModels([result], [standing], [score]), [
    { python: 0.9, typescript: 0.9, top2: 1, macroF1: 0.9 },
  ]);
  t.throws(
    () => compareModels([result], [standing], [{ ...score, correct: 8 }]),
    /counts differ.*TypeScript 8\/10/,
  );
  t.throws(() => compareModels([result], [], [score]), /leaderboard undefined/);
  t.end();
});
