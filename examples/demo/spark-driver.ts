// SPDX-License-Identifier: Apache-2.0
//
// The Python actor `spark_app.driver.SparkDriver` as TypeScript sees it: its methods and what they
// return. Types only; the code is in spark_app/driver.py.

import type { Table } from "apache-arrow";
import type { ObjectRef } from "polyray";

/** Who and what runs. */
export interface SparkInfo {
  readonly pid: number;
  readonly jvmPid: number;
  readonly python: string;
  readonly spark: string;
  readonly java: string;
  readonly javaOrigin: string;
}

/** A data set; `id` is its `dataset_id` in the table of predictions. */
export interface DatasetInfo {
  readonly id: number;
  readonly name: string;
  readonly features: number;
  readonly classes: number;
}

/** What one configuration achieved on one partition. */
export interface PartitionResult {
  readonly dataset: string;
  readonly partition: number;
  readonly model: string;
  readonly correct: number;
  readonly total: number;
  readonly macro_f1: number;
  readonly train_seconds: number;
  readonly shared_bytes: number;
  readonly shared_reads: number;
  readonly spark_pid: number;
  readonly worker_pids: readonly number[];
  readonly model_sha256: string;
}

/** The actor. Calls run one after the other, in the order in which they were made. */
export interface SparkDriver {
  start(): SparkInfo;
  prepare(): DatasetInfo[];
  configs(): string[];
  train(dataset: string): PartitionResult[];
  table(pieces: ObjectRef<Table>[]): Table;
  save(): { rows: number; bytes: number; models: number };
  stop(): null;
}
