// SPDX-License-Identifier: Apache-2.0
// Remote functions: what `remote(fn)` and `pyFunction()` give. Each call sends ids and arguments; the function itself is
// put into the store once per set of options and environment of workers.
//
// Variants made by options() share one table of specs, so that `f.options({...})` in a loop puts nothing twice.
// Invariants: (1) `remote()` submits or throws, it never waits; (2) specs belong to one connection.

import { CallFlag } from "../native/binding.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { TaskSpecInit } from "../wire/task-spec.ts";
import { type CallSettings, defaultCall, submitTask } from "./call.ts";
import type { Connection } from "./connection.ts";
import { connection } from "./context.ts";
import { checkTaskOptions, resourceAmounts } from "./options.ts";
import type { RemoteSource } from "./remote-source.ts";
import type { StoredSpec, Target } from "./specs.ts";
import { isGenerator, openStream } from "./streams.ts";
import type { TaskOptions } from "./types.ts";
import { workerKey } from "./worker-key.ts";

const defaultHighWaterMark = 16;

export class RemoteFunctionCore {
  /** @internal */
  readonly source: RemoteSource;
  /** @internal */
  readonly taskOptions: TaskOptions;
  #settings: CallSettings = defaultCall;
  #connection: Connection | null = null;
  #number = 0;

  constructor(source: RemoteSource, options: TaskOptions) {
    checkTaskOptions(options, `remote function ${source.name}`);
    this.source = source;
    this.taskOptions = options;
  }

  /** Submits a call. */
  remote(...args: unknown[]): unknown {
    const current = connection();
    if (this.#connection !== current) this.#prepare(current);
    const refs = submitTask(current, this.#number, args, this.#settings);
    return this.#settings.flags === 0 ? refs : openStream(current, refs as ObjectRef);
  }

  /** The same function with other options on top of these. */
  options(options: TaskOptions): RemoteFunctionCore {
    return new RemoteFunctionCore(this.source, { ...this.taskOptions, ...options });
  }

  #prepare(current: Connection): void {
    const options = this.taskOptions;
    const streaming = options.stream !== undefined || isGenerator(this.source.target);
    this.#settings = {
      numReturns: options.numReturns ?? 1,
      flags: streaming ? CallFlag.streaming : 0,
      maxRetries: options.maxRetries ?? -2,
      timeoutMs: options.timeoutMs ?? 0,
      signal: options.signal ?? null,
    };
    this.#number = this.spec(current).number;
    this.#connection = current;
  }

  /** @internal The registered spec of these options. */
  spec(current: Connection): StoredSpec {
    const { source, taskOptions: options } = this;
    const init = taskInit(source.target, source.name, options);
    const amounts = resourceAmounts(options, 1);
    const key = workerKey(current.keyBase, init.language, options.runtimeEnv?.envVars);
    return source.specOf(current, JSON.stringify(init), key, init, (ref, id) =>
      current.specs.register(ref, id, init, amounts, key),
    );
  }

  get [Symbol.toStringTag](): string {
    return `RemoteFunction(${this.source.name})`;
  }
}

function taskInit(target: Target, name: string, options: TaskOptions): TaskSpecInit {
  const retry = options.retryExceptions ?? options.retryErrors ?? false;
  return {
    kind: "task",
    language: target.kind === "module" ? target.language : "ts",
    name: options.name ?? name,
    numReturns: options.numReturns ?? 1,
    maxRetries: options.maxRetries ?? 3,
    retryExceptions: retry !== false,
    retryExceptionList: Array.isArray(retry) ? errorNames(retry) : null,
    isGenerator: isGenerator(target),
    resources: wholeUnits(resourceAmounts(options, 1)),
    envVars: options.runtimeEnv?.envVars ?? {},
    timeoutMs: options.timeoutMs ?? 0,
    streamHighWaterMark: options.stream?.highWaterMark ?? defaultHighWaterMark,
  };
}

/** Classes to retry, by name: the worker compares the names along the error's prototype chain. */
export function errorNames(classes: readonly (new (...args: never[]) => Error)[]): Uint8Array {
  return Buffer.from(JSON.stringify(classes.map((one) => one.name)));
}

/** Fixed-point amounts as numbers of whole units. */
export function wholeUnits(amounts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => [name, amount / 10_000]),
  );
}
