// SPDX-License-Identifier: Apache-2.0
// The actor behind WorkerPool: one process that runs a function, or exports of modules, one call or a few at a time.

import { importUser } from "./user-module.ts";

type Work = (task: unknown, context: PoolContext) => unknown;

/** What a pool's function gets as its second argument. */
export interface PoolContext {
  /** The pool's option `workerData`. */
  readonly workerData: unknown;
  /** 1 for the pool's first worker, and so on. */
  readonly threadId: number;
}

export class PoolWorker {
  readonly #own: Work | null;
  readonly #context: PoolContext;
  readonly #loaded = new Map<string, Promise<Work>>();

  constructor(own: Work | null, workerData: unknown, threadId: number) {
    this.#own = own;
    this.#context = { workerData, threadId };
  }

  /** Resolves when the worker is up; loads a module ahead of its first task. */
  async start(file: string | null, name: string): Promise<number> {
    if (file !== null) await this.#load(file, name);
    return process.pid;
  }

  /** Runs one task; the result comes in a list with the milliseconds that it took. */
  async run(file: string | null, name: string, task: unknown): Promise<[unknown, number]> {
    const work = file === null ? this.#own : await this.#load(file, name);
    if (work === null) throw new TypeError("the pool has neither a function nor a filename");
    const start = performance.now();
    const result = await work(task, this.#context);
    return [result, performance.now() - start];
  }

  #load(file: string, name: string): Promise<Work> {
    const key = `${file}#${name}`;
    let loaded = this.#loaded.get(key);
    if (loaded === undefined) {
      loaded = importUser(file).then((namespace) => exportOf(namespace, file, name));
      loaded.catch(() => this.#loaded.delete(key));
      this.#loaded.set(key, loaded);
    }
    return loaded;
  }
}

function exportOf(namespace: unknown, file: string, name: string): Work {
  let value = (namespace as Record<string, unknown>)[name];
  // The default export of a CommonJS module may be its exports object.
  if (typeof value !== "function" && typeof namespace === "object" && namespace !== null)
    value = (namespace as { default?: Record<string, unknown> }).default?.[name];
  if (typeof value === "function") return value as Work;
  const has = Object.keys(namespace as object).join(", ");
  throw new TypeError(`${file} has no function "${name}" (it exports: ${has || "nothing"})`);
}
