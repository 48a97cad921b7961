// SPDX-License-Identifier: Apache-2.0
// Remote functions: what `remote(fn)` and `pyFunction()` give. Each call sends ids and arguments; the function itself is
// put into the store once per set of options and environment of workers.
//
// Variants made by options() share one table of specs, so that `f.options({...})` in a loop puts nothing twice.
// Invariants: (1) `remote()` submits or throws, it never waits; (2) specs belong to one connection.

import { userAmounts } from "../base/amounts.ts";
import { InvalidOptionError, makeError } from "../base/errors.ts";
import { CallFlag } from "../native/binding.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { TaskSpecInit } from "../wire/task-spec.ts";
import { type CallSettings, defaultCall, submitTask } from "./call.ts";
import { checkOptions, checks } from "./checks.ts";
import type { Connection } from "./connection.ts";
import { connection } from "./context.ts";
import { GraphNode } from "./graph-node.ts";
import { submitting } from "./interceptors.ts";
import { claimOnce } from "./once.ts";
import {
  asksStream,
  checkTaskOptions,
  highWaterMarkOf,
  resourceAmounts,
  returnCount,
} from "./options.ts";
import { capturing, place } from "./placement.ts";
import type { RemoteSource } from "./remote-source.ts";
import { type RetryRules, retryRules } from "./retry.ts";
import { languageOf, type StoredSpec, type Target } from "./specs.ts";
import { isGenerator, openStream } from "./streams.ts";
import type { MapBatchOptions, TaskOptions } from "./types.ts";
import { workerKey } from "./worker-key.ts";

/** Items of a stream that may wait before `yield` waits. */
export const defaultHighWaterMark = 16;

export class RemoteFunctionCore {
  /** @internal */
  readonly source: RemoteSource;
  /** @internal */
  readonly taskOptions: TaskOptions;
  #settings: CallSettings = defaultCall;
  #connection: Connection | null = null;
  #number = 0;
  #keyVersion = 0;

  constructor(source: RemoteSource, options: TaskOptions) {
    checkTaskOptions(options, `remote function ${source.name}`);
    this.source = source;
    this.taskOptions = options;
  }

  /** Submits a call. */
  remote(...args: unknown[]): unknown {
    if (submitting.run === null) return this.#submit(args);
    const { name } = this.source;
    return submitting.run({ kind: "task", name, args }, (call) => this.#submit(call.args));
  }

  #submit(args: readonly unknown[]): unknown {
    const current = connection();
    if (this.#connection !== current || this.#keyVersion !== current.keyVersion || capturing.on)
      this.#prepare(current);
    const once = this.taskOptions.idempotencyKey;
    if (once !== undefined) return this.#once(current, once, args);
    const refs = submitTask(current, this.#number, args, this.#settings);
    return this.#settings.flags === 0 ? refs : openStream(current, refs as ObjectRef);
  }

  /** A node of a lazy graph. */
  bind(...args: unknown[]): GraphNode {
    return new GraphNode(this, args);
  }

  /** Submits a call per item. */
  map(items: Iterable<unknown>, options: MapBatchOptions = {}): unknown[] {
    const { batch } = options;
    checkOptions(options, { batch: checks.whole(1) }, `${this.source.name}.map`);
    if (typeof (items as Iterable<unknown> | null)?.[Symbol.iterator] !== "function")
      throw makeError("INVALID_ARGUMENT", `${this.source.name}.map takes an iterable of items`);
    const refs: unknown[] = [];
    for (const item of items) {
      refs.push(this.remote(item));
      if (batch !== undefined && refs.length % batch === 0) this.#connection?.native.flush();
    }
    return refs;
  }

  /** The same function with other options on top of these. */
  options(options: TaskOptions): RemoteFunctionCore {
    checkTaskOptions(options, `remote function ${this.source.name}`);
    return new RemoteFunctionCore(this.source, { ...this.taskOptions, ...options });
  }

  // Refs of its own for each caller: disposing one leaves the result to the others.
  #once(current: Connection, key: string, args: readonly unknown[]): unknown {
    if (this.#settings.flags !== 0)
      throw new InvalidOptionError("[invalid option] a stream has no idempotencyKey.");
    const name = `${this.source.identity} ${key}`;
    let known = current.once.get(name);
    if (known === undefined) {
      known = claimOnce(current, name, () =>
        submitTask(current, this.#number, args, this.#settings),
      );
      current.once.set(name, known);
    }
    const again = (ref: ObjectRef): ObjectRef => current.store.refOfId(ref.id);
    return Array.isArray(known) ? known.map(again) : again(known);
  }

  #prepare(current: Connection): void {
    const options = this.taskOptions;
    const streaming = asksStream(options) || isGenerator(this.source.target);
    this.#settings = {
      ...defaultCall,
      numReturns: returnCount(options),
      flags: streaming ? CallFlag.streaming : 0,
      timeoutMs: options.timeoutMs ?? 0,
      signal: options.signal ?? null,
    };
    this.#number = this.spec(current).number;
    this.#connection = current;
    this.#keyVersion = current.keyVersion;
  }

  /** @internal The registered spec of these options. */
  spec(current: Connection): StoredSpec {
    const { source, taskOptions: options } = this;
    const retry = retryRules(options, languageOf(source.target), `remote function ${source.name}`);
    const { amounts, scheduling } = place(current, options, resourceAmounts(options, 1));
    const init = { ...taskInit(source.target, source.name, options, retry), scheduling };
    const key = workerKey(current.keyBase, init.language, options.runtimeEnv);
    const id = JSON.stringify([init, retry.identity]);
    return source.specOf(current, id, key, { init, extras: retry.extras }, (ref, id) =>
      current.specs.register(ref, id, init, amounts, key),
    );
  }

  get [Symbol.toStringTag](): string {
    return `RemoteFunction(${this.source.name})`;
  }
}

function taskInit(
  target: Target,
  name: string,
  options: TaskOptions,
  retry: RetryRules,
): TaskSpecInit {
  return {
    kind: "task",
    language: languageOf(target),
    name: options.name ?? name,
    numReturns: returnCount(options),
    maxRetries: retry.maxRetries ?? options.maxRetries ?? 3,
    retryExceptions: retry.enabled,
    retryExceptionList: retry.names,
    maxCalls: options.maxCalls ?? 0,
    priority: options.priority ?? 0,
    isGenerator: isGenerator(target),
    resources: userAmounts(resourceAmounts(options, 1)),
    envVars: options.runtimeEnv?.envVars ?? {},
    timeoutMs: options.timeoutMs ?? 0,
    streamHighWaterMark: highWaterMarkOf(options) ?? defaultHighWaterMark,
  };
}
