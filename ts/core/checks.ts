// SPDX-License-Identifier: Apache-2.0
// Checks of options: single values, and objects of them against a table. Pure. An unknown name is an InvalidOptionError that
// lists the valid ones, since a misspelt option that is silently ignored is the worst kind of wrong.

import { parseBytes } from "../base/amounts.ts";
import { InvalidOptionError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";

/** Null, or what the value must be. */
export type Check = (value: unknown) => string | null;

/** An object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const finite: Check = (v) =>
  typeof v === "number" && Number.isFinite(v) && v >= 0 ? null : "a number >= 0";

const leastAmount = 1 / limits.resourceUnit;

const amount: Check = (v) =>
  finite(v) ?? (v === 0 || (v as number) >= leastAmount ? null : `0 or at least ${leastAmount}`);

const whole =
  (least: number): Check =>
  (v) =>
    Number.isInteger(v) && (v as number) >= least ? null : `a whole number >= ${least}`;
const values = {
  finite,
  amount,
  positive: (v) => (typeof v === "number" && v > 0 ? null : "a number > 0"),
  durationMs: (v) => (typeof v === "number" && v >= 0 ? null : "milliseconds, a number >= 0"),
  positiveMs: (v) => (typeof v === "number" && v > 0 ? null : "milliseconds > 0"),
  bytes: (v) => {
    try {
      parseBytes(v);
      return null;
    } catch {
      return `bytes (a number >= 0) or text such as "4GiB"`;
    }
  },
  amounts: (v) => {
    if (!isRecord(v) || !Object.values(v).every((n) => finite(n) === null))
      return "an object of numbers >= 0, such as { alice: 1 }";
    return Object.values(v).every((n) => amount(n) === null)
      ? null
      : `an object of numbers that are 0 or at least ${leastAmount}`;
  },
  bool: (v) => (typeof v === "boolean" ? null : "true or false"),
  anyText: (v) => (typeof v === "string" ? null : "a string"),
  text: (v) => (typeof v === "string" && v !== "" ? null : "a non-empty string"),
  texts: (v) =>
    isRecord(v) && Object.values(v).every((one) => typeof one === "string")
      ? null
      : 'an object of strings, such as { A: "1" }',
  signal: (v) => (v instanceof AbortSignal ? null : "an AbortSignal"),
} satisfies Record<string, Check>;

/** Checks that option tables are made of. */
export const checks = { ...values, whole } as const;

/** Checks an options object against a table; `where` names it in the error. */
export function checkOptions(
  options: unknown,
  table: Readonly<Record<string, Check>>,
  where: string,
): void {
  if (!isRecord(options))
    throw new InvalidOptionError(
      `[invalid option] ${where} options must be an object, not ${String(options)}.`,
    );
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const check = table[name];
    if (check === undefined) {
      throw new InvalidOptionError(
        `[invalid option] ${where} has no option "${name}". Valid options: ${Object.keys(table).join(", ")}.`,
      );
    }
    const wanted = check(value);
    if (wanted !== null)
      throw new InvalidOptionError(
        `[invalid option] ${where} option ${name} must be ${wanted}, not ${show(value)}.`,
      );
  }
}

/** A value as it is shown in an error. */
export function show(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
