// SPDX-License-Identifier: Apache-2.0
// Which errors a function or method is retried for, and the pauses between: from options to what travels in a spec, and
// the decision in the worker. Pure.
//
// Classes travel by name and are compared along the error's prototype chain. A predicate and the plan travel as values
// beside the spec (`extras`), so that only specs that have them carry them.

import { InvalidOptionError } from "../base/errors.ts";
import { noteErrorClass } from "../object/error-classes.ts";
import type { RetryErrors, RetryPlan } from "./types.ts";

/** The options that say how to retry. */
export interface RetryOptions {
  readonly retryExceptions?: RetryErrors;
  readonly retryErrors?: RetryErrors;
  readonly retry?: RetryPlan;
}

/** The part of the rules that travels as values. */
export interface RetryExtras {
  readonly retryIf?: (error: unknown) => unknown;
  readonly plan?: RetryPlan;
}

/** What options come to. */
export interface RetryRules {
  readonly enabled: boolean;
  /** Names of classes as JSON; null: all. */
  readonly names: Uint8Array | null;
  readonly extras: RetryExtras | null;
  /** What `retry.max` says. */
  readonly maxRetries: number | null;
  /** Tells rules apart that differ only in functions. */
  readonly identity: readonly unknown[] | null;
}

const numbers = new WeakMap<object, number>();
let lastNumber = 0;

function numberOf(fn: object): number {
  let number = numbers.get(fn);
  if (number === undefined) {
    number = ++lastNumber;
    numbers.set(fn, number);
  }
  return number;
}

/** Reads the options. Throws InvalidOptionError for what a Python target cannot do; `where` names it. */
export function retryRules(
  options: RetryOptions,
  language: "ts" | "py",
  where: string,
): RetryRules {
  const plan = options.retry ?? null;
  const errors = options.retryExceptions ?? options.retryErrors ?? plan !== null;
  const maxRetries = plan?.max ?? null;
  if (errors === false)
    return { enabled: false, names: null, extras: null, maxRetries, identity: null };
  const retryIf = typeof errors === "function" ? errors : null;
  if (language === "py" && (retryIf !== null || (Array.isArray(errors) && !coversPython(errors))))
    throw new InvalidOptionError(
      `[invalid option] ${where}: the errors of a Python function cannot be told apart here; use retryErrors: true, or [PythonError].`,
    );
  if (Array.isArray(errors)) for (const one of errors) noteErrorClass(one);
  const names =
    Array.isArray(errors) && language === "ts"
      ? Buffer.from(JSON.stringify(errors.map((one: { name: string }) => one.name)))
      : null;
  if (retryIf === null && plan === null)
    return { enabled: true, names, extras: null, maxRetries, identity: null };
  const extras = { ...(retryIf === null ? {} : { retryIf }), ...(plan === null ? {} : { plan }) };
  const identity = [retryIf === null ? 0 : numberOf(retryIf), plan];
  return { enabled: true, names, extras, maxRetries, identity };
}

function coversPython(classes: readonly unknown[]): boolean {
  return classes.some((one) =>
    ["PythonError", "PolyrayError", "Error"].includes((one as { name: string }).name),
  );
}

/** Whether an error is one of the named classes. */
export function isOneOf(error: unknown, names: Uint8Array): boolean {
  const wanted = JSON.parse(Buffer.from(names).toString("utf8")) as string[];
  for (
    let proto: unknown = error;
    proto !== null && typeof proto === "object";
    proto = Object.getPrototypeOf(proto)
  ) {
    if (wanted.includes((proto as { constructor?: { name?: string } }).constructor?.name ?? ""))
      return true;
  }
  return false;
}

/** Milliseconds to wait before run `attempt` + 1 (attempt 0 was the first). */
export function pauseMs(plan: RetryPlan, attempt: number, random: () => number): number {
  const { backoff = "exponential", initialMs = 100, maxMs = 30_000, jitter = 0 } = plan;
  const factor = backoff === "fixed" ? 1 : backoff === "linear" ? attempt + 1 : 2 ** attempt;
  const pause = Math.min(initialMs * factor, maxMs);
  const share = typeof jitter === "boolean" ? Number(jitter) : jitter;
  return pause * (1 - share * random());
}
