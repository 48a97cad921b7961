// SPDX-License-Identifier: Apache-2.0
// Checks task and actor options: names, types, ranges. Pure. An unknown name is an InvalidOptionError that lists the valid
// ones, since a misspelt option that is silently ignored is the worst kind of wrong.

import { InvalidOptionError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ActorOptions, SharedOptions, TaskOptions } from "./types.ts";

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
const retry: Check = (v) =>
  typeof v === "boolean" || (Array.isArray(v) && v.every((c) => typeof c === "function"))
    ? null
    : "true, false or a list of error classes";
const signal: Check = (v) => (v instanceof AbortSignal ? null : "an AbortSignal");
const lifetime: Check = (v) =>
  v === "detached" || v === "non_detached" ? null : `"detached" or "non_detached"`;
const runtimeEnv: Check = (v) => {
  if (!isRecord(v)) return 'an object such as { envVars: { A: "1" } }';
  for (const key of Object.keys(v))
    if (key !== "envVars") return `an object with envVars (${key} is not built yet)`;
  const vars = v.envVars;
  return vars === undefined ||
    (isRecord(vars) && Object.values(vars).every((x) => typeof x === "string"))
    ? null
    : "envVars of strings";
};
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
  numGpus: finite,
  memory: bytes,
  resources: amounts,
  name: text,
  runtimeEnv,
};

const taskChecks: Readonly<Record<string, Check>> = {
  ...shared,
  numReturns: whole(1),
  maxRetries: whole(-1),
  maxTaskRetries: whole(-1),
  retryExceptions: retry,
  retryErrors: retry,
  signal,
  timeoutMs: finite,
  stream: (v) =>
    isRecord(v) && (v.highWaterMark === undefined || whole(0)(v.highWaterMark) === null)
      ? null
      : "an object such as { highWaterMark: 16 }",
};

/** Options of one call of an actor's method. */
const callChecks: Readonly<Record<string, Check>> = {
  name: text,
  numReturns: whole(1),
  maxTaskRetries: whole(-1),
  retryExceptions: retry,
  retryErrors: retry,
  signal,
  timeoutMs: finite,
};

const actorChecks: Readonly<Record<string, Check>> = {
  ...shared,
  namespace: text,
  getIfExists: bool,
  lifetime,
  maxRestarts: whole(-1),
  maxTaskRetries: whole(-1),
  maxConcurrency: whole(1),
  maxPendingCalls: whole(-1),
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
export const checks = { finite, text, bool, amounts, runtimeEnv, bytes } as const;
