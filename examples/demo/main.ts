// SPDX-License-Identifier: Apache-2.0
//
// One program over TypeScript, Python and Spark; docs/demo.md walks through it. This driver starts
// the runtime and two TypeScript actors, creates a Python actor that holds a PySpark session, has
// models trained from inside Spark's executors, and scores all predictions in TypeScript tasks.

import { mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type ActorHandle, get, init, pyActor, remote, shutdown } from "polyray";
import { Leaderboard, Progress } from "./actors.ts";
import { compareModels, crossings, roles, type Score, type Scored } from "./compare.ts";
import { Live } from "./live.ts";
import { renderReport } from "./report.ts";
import { scoreModel, sharedBytes } from "./scoring.ts";
import type { DatasetInfo, PartitionResult, SparkDriver } from "./spark-driver.ts";

const namespace = "demo";
const here = fileURLToPath(new URL(".", import.meta.url));
const live = new Live();

/** Trains on every data set; shows how far it is, as told by the executors, meanwhile. */
async function train(
  spark: ActorHandle<SparkDriver>,
  progress: ActorHandle<Progress>,
  datasets: readonly DatasetInfo[],
): Promise<PartitionResult[]> {
  const results: PartitionResult[] = [];
  for (const { name } of datasets) {
    const training = get(spark.train.remote(name));
    const ended = training.then(
      () => true,
      () => true,
    );
    const show = async () =>
      live.training(name, (await get(progress.snapshot.remote())).partitions);
    const run = async () => {
      while (!(await Promise.race([ended, sleep(250, false)]))) await show();
      const rows = await training;
      await show(); // the last steps fall between two looks
      return rows;
    };
    results.push(
      ...(await live.phase(`train ${name}`, run, (rows) => {
        const best = rows.toSorted((a, b) => b.correct / b.total - a.correct / a.total)[0];
        return `${rows.length} results from ${new Set(rows.map((row) => row.spark_pid)).size} Spark workers, best ${best?.model}`;
      })),
    );
  }
  return results;
}

/** Scores every model on every data set, a task each, over one shared table. */
async function score(
  spark: ActorHandle<SparkDriver>,
  leaderboard: ActorHandle<Leaderboard>,
  datasets: readonly DatasetInfo[],
): Promise<Scored> {
  const pieces = await get(leaderboard.pieces.remote());
  const ref = spark.table.remote(pieces);
  const table = await live.phase(
    "receive the predictions",
    () => get(ref),
    (got) => `Arrow table of ${got.numRows} rows and ${got.numCols} columns`,
  );
  const configs = await get(spark.configs.remote());
  const scorer = remote(scoreModel);
  const scores = await live.phase(
    "score in TypeScript",
    () =>
      Promise.all(
        datasets.flatMap((dataset) =>
          configs.map(async (model, config): Promise<Score> => {
            const scored = await get(scorer.remote(ref, dataset.id, config, dataset.classes));
            return { dataset: dataset.name, model, ...scored };
          }),
        ),
      ),
    (all) => `${all.length} confusion matrices`,
  );
  return { scores, driverBytes: await sharedBytes(table), rows: table.numRows };
}

async function demo(): Promise<void> {
  const runtime = await live.phase(
    "start polyray",
    () => init({ namespace }),
    (rt) => `node ${rt.address}`,
  );
  // In the session's folder: it is removed with it, however this program ends.
  const workDir = join(runtime.sessionDir, "demo");
  mkdirSync(workDir);
  const progress = remote(Progress, { name: "progress", numCpus: 0 }).remote();
  const leaderboard = remote(Leaderboard, { name: "leaderboard", numCpus: 0 }).remote();
  const scoringModule = new URL("scoring.ts", import.meta.url).href;
  const spark = pyActor<SparkDriver>("spark_app.driver", "SparkDriver")
    .options({ name: "spark", numCpus: 0 })
    .remote(workDir, runtime.address, namespace, scoringModule);
  const info = await live.phase(
    "start Spark",
    () => get(spark.start.remote()),
    (got) => `Spark ${got.spark}, Java ${got.java} (${got.javaOrigin}), Python ${got.python}`,
  );
  const datasets = await live.phase(
    "prepare data",
    () => get(spark.prepare.remote()),
    (got) => got.map((each) => `${each.name} (${each.features} features)`).join(", "),
  );
  const results = await train(spark, progress, datasets);
  const scored = await score(spark, leaderboard, datasets);
  const parquet = await live.phase(
    "save to Parquet and read back",
    () => get(spark.save.remote()),
    (got) => `${got.rows} rows`,
  );
  const standings = await get(leaderboard.standings.remote());
  const models = compareModels(results, standings.standings, scored.scores);
  const best = models.filter((each) => each.dataset === "digits")[0];
  const bestScore = scored.scores.find(
    (each) => each.dataset === "digits" && each.model === best?.model,
  );
  const pids = {
    progress: (await get(progress.snapshot.remote())).pid,
    leaderboard: standings.pid,
    spark: info.pid,
    jvm: info.jvmPid,
  };
  await live.phase(
    "stop",
    async () => {
      await get(spark.stop.remote());
      await shutdown();
    },
    () => "Spark and polyray have ended",
  );
  console.log(
    renderReport({
      models,
      best: {
        title: `Confusion matrix of ${best?.model} on digits (row: true digit)`,
        matrix: bestScore?.matrix ?? [],
      },
      roles: roles(pids, results, scored),
      crossings: crossings(results, scored),
      parquet,
      phases: live.phases,
    }),
  );
}

// The Python workers find spark_app through the driver's PYTHONPATH; one thread each for the arithmetic.
process.env.PYTHONPATH = [here, process.env.PYTHONPATH].filter(Boolean).join(delimiter);
process.env.OMP_NUM_THREADS ??= "1";
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    live.fail(`ended by ${signal}`);
    process.exit(code);
  });
try {
  await demo();
} catch (error) {
  live.fail(error);
  process.exitCode = 1;
  await shutdown();
}
