// SPDX-License-Identifier: Apache-2.0
// Checks task and actor options: names, types, ranges; what they mean together. Pure.

import { parseBytes } from "../base/amounts.ts";
import { InvalidOptionError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Check, checkOptions, checks, isRecord, show } from "./checks.ts";
import { schedulingError } from "./placement.ts";
import { checkRuntimeEnv } from "./runtime-env.ts";
import type { ActorOptions, MethodOptions, SharedOptions, TaskOptions } from "./types.ts";

const { amount, amounts, bool, bytes, finite, signal, text, whole } = checks;
const gpus: Check = (v) =>
  amount(v) !== null
    ? amount(v)
    : (v as number) <= 1 || Number.isInteger(v)
      ? null
      : "a share of one GPU (up to 1) or a whole number";
const retryOf: Check = (v) =>
  typeof v === "boolean" ||
  typeof v === "function" ||
  (Array.isArray(v) && v.every((c) => typeof c === "function"))
    ? null
    : "true, false, a list of error classes or a function (error) => boolean";
const backoffs = ["fixed", "linear", "exponential"];
const retryPlan: Check = (v) => {
  const wanted =
    'an object such as { max: 3, backoff: "exponential", initialMs: 100, maxMs: 5000, jitter: 0.1 }';
  if (!isRecord(v)) return wanted;
  for (const [key, value] of Object.entries(v)) {
    if (value === undefined) continue;
    const good =
      key === "max"
        ? whole(-1)(value) === null
        : key === "backoff"
          ? backoffs.includes(value as string)
          : key === "jitter"
            ? typeof value === "boolean" || (finite(value) === null && (value as number) <= 1)
            : (key === "initialMs" || key === "maxMs") && finite(value) === null;
    if (!good) return `${wanted} (${key} is ${show(value)})`;
  }
  return null;
};
const groups: Check = (v) =>
  isRecord(v) && Object.values(v).every((n) => whole(1)(n) === null)
    ? null
    : "an object of whole numbers >= 1, such as { io: 2, compute: 4 }";
const returns: Check = (v) =>
  v === "streaming" || whole(1)(v) === null ? null : 'a whole number >= 1 or "streaming"';
const streaming: Check = (v) =>
  typeof v === "boolean" ||
  (isRecord(v) &&
    Object.keys(v).every((key) => key === "highWaterMark") &&
    (v.highWaterMark === undefined || whole(0)(v.highWaterMark) === null))
    ? null
    : "true or an object such as { highWaterMark: 16 }";
const isolation: Check = (v) =>
  v === "process" ? null : '"process" (other kinds of isolation are not built yet)';
const lifetime: Check = (v) =>
  v === "detached" || v === "non_detached" ? null : `"detached" or "non_detached"`;
const shared: Readonly<Record<string, Check>> = {
  numCpus: amount,
  numGpus: gpus,
  memory: bytes,
  resources: amounts,
  name: text,
  runtimeEnv: checkRuntimeEnv,
  scheduling: schedulingError,
  labels: (v) => (isRecord(v) ? null : 'an object such as { zone: "a" }'),
  acceleratorType: text,
  priority: whole(-(2 ** 31)),
  isolation,
  taskEvents: bool,
};

const taskChecks: Readonly<Record<string, Check>> = {
  ...shared,
  numReturns: returns,
  maxRetries: whole(-1),
  retryExceptions: retryOf,
  retryErrors: retryOf,
  retry: retryPlan,
  maxCalls: whole(0),
  signal,
  timeoutMs: finite,
  stream: streaming,
  idempotencyKey: text,
};

/** What `@method({...})` takes. */
const methodChecks: Readonly<Record<string, Check>> = {
  numReturns: returns,
  maxTaskRetries: whole(-1),
  retryExceptions: retryOf,
  retryErrors: retryOf,
  retry: retryPlan,
  concurrencyGroup: text,
  stream: streaming,
  timeoutMs: finite,
  taskEvents: bool,
};

/** Options of one call of an actor's method. */
const callChecks: Readonly<Record<string, Check>> = { name: text, ...methodChecks, signal };

const actorChecks: Readonly<Record<string, Check>> = {
  ...shared,
  namespace: text,
  getIfExists: bool,
  lifetime,
  maxRestarts: whole(-1),
  maxTaskRetries: whole(-1),
  maxConcurrency: whole(1),
  concurrencyGroups: groups,
  maxPendingCalls: whole(-1),
  objectStoreMemory: bytes,
  ordered: bool,
};

export function checkTaskOptions(options: TaskOptions, where: string): void {
  checkOptions(options, taskChecks, where);
}

export function checkCallOptions(options: TaskOptions, where: string): void {
  checkOptions(options, callChecks, where);
}

export function checkActorOptions(options: ActorOptions, where: string): void {
  checkOptions(options, actorChecks, where);
}

export function checkMethodOptions(options: MethodOptions, where: string): void {
  checkOptions(options, methodChecks, where);
}

/** Whether options ask for a stream of the items that the function yields. */
export function asksStream(options: {
  readonly stream?: unknown;
  readonly numReturns?: unknown;
}): boolean {
  if (options.numReturns === "streaming") return true;
  return options.stream !== undefined && options.stream !== false;
}

/** `numReturns` as a number. */
export function returnCount(options: { readonly numReturns?: number | "streaming" }): number {
  return typeof options.numReturns === "number" ? options.numReturns : 1;
}

/** Items of a stream that may wait; null when the options do not say. */
export function highWaterMarkOf(options: {
  readonly stream?: boolean | { readonly highWaterMark?: number };
}): number | null {
  const { stream } = options;
  return typeof stream === "object" ? (stream.highWaterMark ?? null) : null;
}

/** Fixed-point amounts of a task or actor: what a lease asks for. */
export function resourceAmounts(
  options: SharedOptions,
  defaultCpus: number,
): Record<string, number> {
  const unit = limits.resourceUnit;
  const found: Record<string, number> = {};
  const cpus = Math.round((options.numCpus ?? defaultCpus) * unit);
  if (cpus > 0) found.CPU = cpus;
  if (options.numGpus !== undefined && options.numGpus > 0)
    found.GPU = Math.round(options.numGpus * unit);
  if (options.memory !== undefined) {
    const memory = parseBytes(options.memory) * unit;
    if (memory > 0) found.memory = memory;
  }
  for (const [name, amount] of Object.entries(options.resources ?? {})) {
    if (name === "CPU" || name === "GPU" || name === "memory") {
      throw new InvalidOptionError(
        `[invalid option] resources.${name} is a built-in resource: use ${name === "CPU" ? "numCpus" : name === "GPU" ? "numGpus" : "memory"}.`,
      );
    }
    if (amount > 0) found[name] = Math.round(amount * unit);
  }
  return found;
}
