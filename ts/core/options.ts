// SPDX-License-Identifier: Apache-2.0
// Checks task and actor options: names, types, ranges. Pure. An unknown name is an InvalidOptionError that lists the valid
// ones, since a misspelt option that is silently ignored is the worst kind of wrong.

import { InvalidOptionError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { schedulingError } from "./placement.ts";
import { checkRuntimeEnv } from "./runtime-env.ts";
import type { ActorOptions, MethodOptions, SharedOptions, TaskOptions } from "./types.ts";

type Check = (value: unknown) => string | null;

const finite: Check = (v) =>
  typeof v === "number" && Number.isFinite(v) && v >= 0 ? null : "a number >= 0";
const text: Check = (v) => (typeof v === "string" && v !== "" ? null : "a non-empty string");
const bool: Check = (v) => (typeof v === "boolean" ? null : "true or false");
const whole =
  (least: number): Check =>
  (v) =>
    Number.isInteger(v) && (v as number) >= least ? null : `a whole number >= ${least}`;
const amounts: Check = (v) =>
  isRecord(v) && Object.values(v).every((n) => finite(n) === null)
    ? null
    : "an object of numbers >= 0, such as { alice: 1 }";
const gpus: Check = (v) =>
  finite(v) !== null
    ? finite(v)
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
const signal: Check = (v) => (v instanceof AbortSignal ? null : "an AbortSignal");
const lifetime: Check = (v) =>
  v === "detached" || v === "non_detached" ? null : `"detached" or "non_detached"`;
const runtimeEnv: Check = checkRuntimeEnv;
const bytes: Check = (v) => {
  try {
    parseBytes(v);
    return null;
  } catch {
    return `bytes (a number >= 0) or text such as "4GiB"`;
  }
};

const shared: Readonly<Record<string, Check>> = {
  numCpus: finite,
  numGpus: gpus,
  memory: bytes,
  resources: amounts,
  name: text,
  runtimeEnv,
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

/** Options of one call of an actor's method. */
const callChecks: Readonly<Record<string, Check>> = {
  name: text,
  numReturns: returns,
  maxTaskRetries: whole(-1),
  retryExceptions: retryOf,
  retryErrors: retryOf,
  retry: retryPlan,
  concurrencyGroup: text,
  stream: streaming,
  signal,
  timeoutMs: finite,
  taskEvents: bool,
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Checks an options object against a table; `where` names it in the error. */
export function checkOptions(
  options: unknown,
  checks: Readonly<Record<string, Check>>,
  where: string,
): void {
  if (!isRecord(options))
    throw new InvalidOptionError(
      `[invalid option] ${where} options must be an object, not ${String(options)}.`,
    );
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const check = checks[name];
    if (check === undefined) {
      throw new InvalidOptionError(
        `[invalid option] ${where} has no option "${name}". Valid options: ${Object.keys(checks).join(", ")}.`,
      );
    }
    const wanted = check(value);
    if (wanted !== null)
      throw new InvalidOptionError(
        `[invalid option] ${where} option ${name} must be ${wanted}, not ${show(value)}.`,
      );
  }
}

function show(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

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

/** Bytes of a number or of text such as "512MB", "4GiB", "1G". Throws InvalidOptionError. */
export function parseBytes(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return Math.floor(value);
  const match =
    typeof value === "string" ? /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)\s*$/i.exec(value) : null;
  if (match === null)
    throw new InvalidOptionError(
      `[invalid option] not an amount of bytes: ${String(value)}. Use a number or text such as "4GiB".`,
    );
  const power = " kmgt".indexOf((match[2] ?? "").toLowerCase() || " ");
  // "1G" and "1GiB" are powers of 1024 (as Spark and Kubernetes' Gi), "1GB" of 1000.
  const base = match[3] === "" && match[4] !== "" && power > 0 ? 1000 : 1024;
  return Math.floor(Number(match[1]) * base ** power);
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

/** Checks that other option tables use. */
export const checks = {
  finite,
  text,
  bool,
  amounts,
  runtimeEnv,
  bytes,
  atLeastOne: whole(1),
} as const;
