// SPDX-License-Identifier: Apache-2.0
// The options of WorkerPool: names and meaning of Piscina's, their defaults and checks. Pure.

import { availableParallelism } from "node:os";
import { InvalidOptionError } from "../base/errors.ts";
import { checkOptions, checks } from "../core/checks.ts";
import type { PoolContext } from "../core/pool-worker.ts";
import type { ActorOptions } from "../core/types.ts";

/** Options of a WorkerPool. One of `filename` and `task` says what runs. */
export interface PoolOptions<T = unknown, R = unknown> {
  /** A module whose export `name` runs: a path, or a URL such as `new URL("./work.ts", import.meta.url)`. */
  readonly filename?: string | URL;
  /** A function that runs, sent with its captured variables. */
  readonly task?: (task: T, context: PoolContext) => R;
  /** Export of `filename`. Default "default". */
  readonly name?: string;
  /** Workers that are kept. Default: half of the CPUs, 1 at least. */
  readonly minThreads?: number;
  /** Workers at most. Default: one and a half times the CPUs. */
  readonly maxThreads?: number;
  /** Milliseconds without a task after which a worker above `minThreads` ends. Default 0: at once. */
  readonly idleTimeout?: number;
  /** Tasks that may wait: more are refused with LimitError. "auto": `maxThreads` squared. Default: no limit. */
  readonly maxQueue?: number | "auto";
  /** Tasks that a worker runs at one time. Default 1. */
  readonly concurrentTasksPerWorker?: number;
  /** Given to each task as `context.workerData`. */
  readonly workerData?: unknown;
  /** Environment variables of the workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds that `close` waits for running tasks. Default 30,000. */
  readonly closeTimeout?: number;
  /** Fill `waitTime` and `runTime`. Default true. */
  readonly recordTiming?: boolean;
  /** Options of the actors behind the workers, such as `resources`. */
  readonly actorOptions?: ActorOptions;
}

/** Options of one run. */
export interface RunOptions {
  /** Another module than the pool's. */
  readonly filename?: string | URL;
  /** Another export. */
  readonly name?: string;
  /** Aborts the task: it is taken out of the queue, or its `currentSignal()` fires; one that goes on costs its worker. */
  readonly signal?: AbortSignal;
  /** Buffers of the task that are given up: they are empty here afterwards. */
  readonly transferList?: readonly (ArrayBuffer | ArrayBufferView)[];
}

const { bool, durationMs, text, texts, whole } = checks;

const poolChecks = {
  filename: (value: unknown) => (value instanceof URL ? null : text(value)),
  task: (value: unknown) => (typeof value === "function" ? null : "a function"),
  name: text,
  minThreads: whole(0),
  maxThreads: whole(1),
  idleTimeout: durationMs,
  maxQueue: (value: unknown) =>
    value === "auto" || value === Number.POSITIVE_INFINITY ? null : whole(0)(value),
  concurrentTasksPerWorker: whole(1),
  workerData: () => null,
  env: texts,
  closeTimeout: durationMs,
  recordTiming: bool,
  actorOptions: (value: unknown) =>
    typeof value === "object" && value !== null ? null : "an object",
};

/** The options with their defaults. */
export type CheckedPoolOptions<T = unknown, R = unknown> = Required<
  Omit<PoolOptions<T, R>, "task" | "filename" | "maxQueue">
> & {
  readonly maxQueue: number;
  readonly task: ((task: T, context: PoolContext) => R) | null;
  readonly filename: string | URL | null;
};

/** The options with their defaults. Throws InvalidOptionError. */
export function checkPoolOptions<T, R>(options: PoolOptions<T, R>): CheckedPoolOptions<T, R> {
  checkOptions(options, poolChecks, "WorkerPool");
  if (options.task !== undefined && options.filename !== undefined)
    throw new InvalidOptionError("[invalid option] WorkerPool takes filename or task, not both.");
  const cpus = availableParallelism();
  const wishedMin = Math.max(1, Math.floor(cpus / 2));
  const maxThreads = options.maxThreads ?? Math.max(options.minThreads ?? 1, Math.ceil(cpus * 1.5));
  const minThreads = options.minThreads ?? Math.min(wishedMin, maxThreads);
  if (minThreads > maxThreads)
    throw new InvalidOptionError(
      `[invalid option] WorkerPool: minThreads (${minThreads}) is above maxThreads (${maxThreads}).`,
    );
  const { maxQueue = Number.POSITIVE_INFINITY, env = {}, actorOptions = {} } = options;
  return {
    task: options.task ?? null,
    filename: options.filename ?? null,
    name: options.name ?? "default",
    minThreads,
    maxThreads,
    idleTimeout: options.idleTimeout ?? 0,
    maxQueue: maxQueue === "auto" ? maxThreads ** 2 : maxQueue,
    concurrentTasksPerWorker: options.concurrentTasksPerWorker ?? 1,
    workerData: options.workerData ?? null,
    env,
    closeTimeout: options.closeTimeout ?? 30_000,
    recordTiming: options.recordTiming ?? true,
    actorOptions:
      Object.keys(env).length === 0
        ? actorOptions
        : {
            ...actorOptions,
            runtimeEnv: {
              ...actorOptions.runtimeEnv,
              envVars: { ...actorOptions.runtimeEnv?.envVars, ...env },
            },
          },
  };
}
