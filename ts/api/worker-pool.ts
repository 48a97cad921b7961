// SPDX-License-Identifier: Apache-2.0
// A pool of worker processes with Piscina's shape: `new WorkerPool({ filename }).run(task, { name, signal })`.
//
// Each worker is an actor of its own. The pool starts `minThreads`, grows with its queue to `maxThreads`, and ends workers
// that had nothing to do for `idleTimeout`. Invariants: (1) each run is settled once; (2) a worker runs at most
// `concurrentTasksPerWorker` tasks; (3) an aborted run that does not stop by itself costs its worker, which is replaced.

import { EventEmitter } from "node:events";
import { ActorDiedError, makeError } from "../base/errors.ts";
import { type PoolContext, PoolWorker } from "../core/pool-worker.ts";
import { RemoteClassCore } from "../core/remote-class.ts";
import { RemoteSource } from "../core/remote-source.ts";
import type { ActorHandle, ActorOptions } from "../core/types.ts";
import type { ObjectRef } from "../object/ref.ts";
import { kill } from "./actors.ts";
import { type TimeSummary, Times } from "./histogram.ts";
import { cancel, get } from "./objects.ts";
import { moduleOf } from "./remote.ts";
import { transfer } from "./transfer.ts";
import {
  type CheckedPoolOptions,
  checkPoolOptions,
  type PoolOptions,
  type RunOptions,
} from "./worker-pool-options.ts";

interface Worker {
  readonly handle: ActorHandle<PoolWorker>;
  readonly threadId: number;
  busy: number;
  idleTimer: NodeJS.Timeout | null;
  isReady: boolean;
}

interface Job {
  readonly task: unknown;
  readonly file: string | null;
  readonly name: string;
  readonly signal: AbortSignal | null;
  readonly addedAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  onAbort: (() => void) | null;
}

/** How long an aborted task may go on before its worker is ended. */
const abortGraceMs = 200;

/** Events: `drain` (the queue is empty again), `needsDrain` (it is full), `workerCreate`, `workerDestroy`, `error`. */
export class WorkerPool<T = unknown, R = unknown> extends EventEmitter implements AsyncDisposable {
  readonly options: Readonly<Omit<CheckedPoolOptions, "task" | "filename">>;
  readonly #file: string | null;
  readonly #source = new RemoteSource({ kind: "value", fn: PoolWorker as never }, "WorkerPool");
  readonly #own: ((task: T, context: PoolContext) => R) | null;
  readonly #workers = new Set<Worker>();
  readonly #queue: Job[] = [];
  readonly #wait = new Times();
  readonly #run = new Times();
  readonly #startedAt = performance.now();
  #completed = 0;
  #busyMs = 0;
  #nextId = 1;
  #isFull = false;
  #closing: Promise<void> | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(options: PoolOptions<T, R> | string | URL | ((task: T, context: PoolContext) => R)) {
    super();
    const given: PoolOptions<T, R> =
      typeof options === "function"
        ? { task: options }
        : typeof options === "string" || options instanceof URL
          ? { filename: options }
          : options;
    const { task, filename, ...rest } = checkPoolOptions(given);
    this.options = rest;
    this.#own = task;
    this.#file = filename === null ? null : moduleOf(filename);
    for (let i = 0; i < rest.minThreads; i++) this.#grow();
  }

  /** Runs one task in the next free worker. Rejects with what it threw, the signal's AbortError, LimitError (queue full). */
  run(task: T, options: RunOptions = {}): Promise<Awaited<R>> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== null) throw makeError("CLOSED", "the worker pool was closed");
      options.signal?.throwIfAborted();
      const { maxQueue } = this.options;
      const free = this.#free() !== null || this.#workers.size < this.options.maxThreads;
      if (!free && this.#queue.length >= maxQueue)
        throw makeError("TABLE_FULL", `the pool's task queue is at its limit of ${maxQueue} tasks`);
      const job: Job = {
        task: moved(task, options.transferList ?? []),
        file: options.filename === undefined ? this.#file : moduleOf(options.filename),
        name: options.name ?? this.options.name,
        signal: options.signal ?? null,
        addedAt: performance.now(),
        resolve: resolve as (value: unknown) => void,
        reject,
        onAbort: null,
      };
      this.#queue.push(job);
      if (job.signal !== null) this.#abortInQueue(job, job.signal);
      this.#dispatch();
      if (!this.#isFull && this.#queue.length > 0 && this.#queue.length >= maxQueue) {
        this.#isFull = true;
        this.emit("needsDrain");
      }
    });
  }

  /** Worker processes: one number each. */
  get threads(): readonly { readonly threadId: number }[] {
    return [...this.#workers].map(({ threadId }) => ({ threadId }));
  }

  /** Tasks that wait for a worker. */
  get queueSize(): number {
    return this.#queue.length;
  }

  /** Tasks that are done, failed ones included. */
  get completed(): number {
    return this.#completed;
  }

  /** Milliseconds since the pool was made. */
  get duration(): number {
    return performance.now() - this.#startedAt;
  }

  /** Part of the possible work that was done since the start: 0 to 1. */
  get utilization(): number {
    const possible =
      this.duration * this.options.maxThreads * this.options.concurrentTasksPerWorker;
    return Math.min(1, this.#busyMs / possible);
  }

  /** Times that tasks waited for a worker. */
  get waitTime(): TimeSummary {
    return this.#wait.summary();
  }

  /** Times that tasks ran. */
  get runTime(): TimeSummary {
    return this.#run.summary();
  }

  /** True when the queue is at its limit: the next run may fail. */
  get needsDrain(): boolean {
    return this.#isFull;
  }

  /** Ends the pool when all tasks are done; `force` drops those that wait. At most `closeTimeout`, then it is destroyed. */
  async close({ force = false }: { readonly force?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(force);
    await this.#closing;
  }

  /** Ends the workers now: all tasks fail with ClosedError. */
  async destroy(): Promise<void> {
    this.#closing ??= Promise.resolve();
    for (const job of this.#queue.splice(0)) this.#settle(job, null, destroyed());
    const workers = [...this.#workers];
    for (const worker of workers) this.#forget(worker);
    await Promise.all(workers.map((worker) => kill(worker.handle).catch(() => undefined)));
    this.#onEmpty?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(force: boolean): Promise<void> {
    if (force) for (const job of this.#queue.splice(0)) this.#settle(job, null, destroyed());
    const isBusy = (): boolean =>
      this.#queue.length > 0 || [...this.#workers].some((worker) => worker.busy > 0);
    if (isBusy()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.options.closeTimeout);
        this.#onEmpty = () => {
          if (isBusy()) return;
          clearTimeout(timer);
          resolve();
        };
      });
    }
    await this.destroy();
    this.emit("close");
  }

  #free(): Worker | null {
    const most = this.options.concurrentTasksPerWorker;
    let best: Worker | null = null;
    for (const worker of this.#workers)
      if (worker.busy < most && (best === null || worker.busy < best.busy)) best = worker;
    return best;
  }

  #grow(): Worker {
    const threadId = this.#nextId++;
    const { concurrentTasksPerWorker: most, workerData, actorOptions } = this.options;
    const Remote = new RemoteClassCore(this.#source, {
      numCpus: 0,
      maxConcurrency: most + 1,
      ...(actorOptions as ActorOptions),
    });
    const worker: Worker = {
      handle: Remote.remote(this.#own, workerData, threadId) as ActorHandle<PoolWorker>,
      threadId,
      busy: 0,
      idleTimer: null,
      isReady: false,
    };
    this.#workers.add(worker);
    get(worker.handle.start.remote(this.#file, this.options.name)).then(
      () => {
        worker.isReady = true;
        if (this.#workers.has(worker)) this.emit("workerCreate", { threadId });
      },
      (error: unknown) => {
        // A module that does not load fails the tasks as well; without one to tell, the pool's own event does.
        if (this.#workers.has(worker) && this.listenerCount("error") > 0) this.emit("error", error);
      },
    );
    return worker;
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      let worker = this.#free();
      if (worker === null || (worker.busy > 0 && this.#workers.size < this.options.maxThreads)) {
        if (this.#workers.size < this.options.maxThreads) worker = this.#grow();
      }
      if (worker === null) return;
      const job = this.#queue.shift() as Job;
      void this.#give(worker, job);
    }
    if (this.#isFull) {
      this.#isFull = false;
      this.emit("drain");
    }
  }

  async #give(worker: Worker, job: Job): Promise<void> {
    worker.busy++;
    if (worker.idleTimer !== null) clearTimeout(worker.idleTimer);
    const startedAt = performance.now();
    if (this.options.recordTiming) this.#wait.add(startedAt - job.addedAt);
    let ref: ObjectRef<[unknown, number]> | null = null;
    try {
      ref = worker.handle.run.remote(job.file, job.name, job.task) as ObjectRef<[unknown, number]>;
      this.#abortInWorker(worker, job, ref);
      const [value, tookMs] = await get(ref);
      if (this.options.recordTiming) this.#run.add(tookMs);
      this.#busyMs += tookMs;
      this.#settle(job, value, null);
    } catch (error) {
      this.#busyMs += performance.now() - startedAt;
      if (error instanceof ActorDiedError) this.#forget(worker);
      this.#settle(job, null, this.#reasonOf(job, error));
    }
    ref?.[Symbol.dispose]();
    worker.busy--;
    if (this.#workers.has(worker)) this.#rest(worker);
    this.#dispatch();
    this.#onEmpty?.();
  }

  /** The user's own error, as Piscina gives it: the task's cause, or AbortError. */
  #reasonOf(job: Job, error: unknown): unknown {
    if (job.signal?.aborted === true) return abortError(job.signal);
    if (this.#closing !== null && error instanceof ActorDiedError) return destroyed();
    const { cause } = error as { cause?: unknown };
    return (error as Error).name === "TaskError" && cause instanceof Error ? cause : error;
  }

  #settle(job: Job, value: unknown, error: unknown): void {
    if (job.onAbort !== null) job.signal?.removeEventListener("abort", job.onAbort);
    this.#completed++;
    if (error === null) job.resolve(value);
    else job.reject(error);
  }

  #abortInQueue(job: Job, signal: AbortSignal): void {
    job.onAbort = () => {
      const at = this.#queue.indexOf(job);
      if (at < 0) return;
      this.#queue.splice(at, 1);
      this.#settle(job, null, abortError(signal));
      this.#dispatch();
    };
    signal.addEventListener("abort", job.onAbort, { once: true });
  }

  #abortInWorker(worker: Worker, job: Job, ref: ObjectRef<unknown>): void {
    const { signal } = job;
    if (signal === null) return;
    if (job.onAbort !== null) signal.removeEventListener("abort", job.onAbort);
    job.onAbort = () => {
      cancel(ref).catch(() => undefined);
      job.reject(abortError(signal));
      const end = (): void => {
        if (worker.busy === 0 || !this.#workers.has(worker)) return;
        this.#forget(worker);
        kill(worker.handle).catch(() => undefined);
      };
      const timer = setTimeout(end, abortGraceMs);
      get(ref).then(
        () => clearTimeout(timer),
        () => clearTimeout(timer),
      );
    };
    signal.addEventListener("abort", job.onAbort, { once: true });
  }

  #rest(worker: Worker): void {
    const { idleTimeout, minThreads } = this.options;
    if (worker.busy > 0 || this.#queue.length > 0) return;
    if (idleTimeout === Number.POSITIVE_INFINITY) return;
    const end = (): void => {
      if (worker.busy > 0 || this.#workers.size <= minThreads || !this.#workers.has(worker)) return;
      this.#forget(worker);
      kill(worker.handle).catch(() => undefined);
    };
    if (idleTimeout === 0 && this.#workers.size > minThreads) setImmediate(end);
    else worker.idleTimer = setTimeout(end, idleTimeout).unref();
  }

  #forget(worker: Worker): void {
    if (!this.#workers.delete(worker)) return;
    if (worker.idleTimer !== null) clearTimeout(worker.idleTimer);
    this.emit("workerDestroy", { threadId: worker.threadId });
    const missing = this.options.minThreads - this.#workers.size;
    if (this.#closing === null) for (let i = 0; i < missing; i++) this.#grow();
  }
}

function destroyed(): Error {
  return makeError("CLOSED", "the worker pool was closed before the task was done");
}

function abortError(signal: AbortSignal): Error {
  const { reason } = signal;
  if (reason instanceof Error && reason.name === "AbortError") return reason;
  return new DOMException("The task has been aborted", { name: "AbortError", cause: reason });
}

/** The task with the listed buffers moved: they are empty in this process from now on. */
function moved(task: unknown, list: readonly (ArrayBuffer | ArrayBufferView)[]): unknown {
  if (list.length === 0) return task;
  const buffers = list.map((one) => (ArrayBuffer.isView(one) ? one.buffer : one));
  const isWhole = buffers.includes((ArrayBuffer.isView(task) ? task.buffer : task) as ArrayBuffer);
  if (isWhole && buffers.length === 1) return transfer(task as ArrayBuffer);
  const copy = structuredClone(task, { transfer: buffers as ArrayBuffer[] });
  return copy;
}
