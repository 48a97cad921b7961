// SPDX-License-Identifier: Apache-2.0
// How workers write their log lines: `init({ logging })`, told to the workers of both languages by one variable.
//
// "text" leaves lines as they are and drops those below the level; "json" makes one JSON object of each call of console.*,
// with the fields of Ray's LoggingConfig: what was said, when, and who said it.

import { InvalidOptionError } from "../base/errors.ts";
import { isRecord } from "./checks.ts";

/** Levels, from the most to the least talkative. */
export const logLevels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Options of `init({ logging })`. */
export interface LoggingOptions {
  /** "json": one object a line. Default "text". */
  readonly encoding?: "text" | "json" | "TEXT" | "JSON";
  /** Lines below it are dropped: "debug", "info" (default), "warning" (or "warn"), "error", "critical". Any case. */
  readonly level?: string;
  /** More fields of each JSON line: "name", "process", "processName", "pathname" and the like of Python's records. */
  readonly attrs?: readonly string[];
}

/** The variable that tells a worker. */
export const loggingVariable = "POLYRAY_LOGGING";

/** What a worker of either language reads from the variable (Python: polyray/logging_config.py). */
export interface LoggingConfig {
  readonly encoding: "text" | "json";
  readonly level: LogLevel;
  readonly attrs: readonly string[];
}

/** What is wrong with the option; null when nothing is. */
export function loggingError(value: unknown): string | null {
  const wanted = 'an object such as { encoding: "json", level: "info", attrs: ["process"] }';
  if (!isRecord(value)) return wanted;
  for (const [name, one] of Object.entries(value)) {
    if (one === undefined) continue;
    const good =
      name === "encoding"
        ? typeof one === "string" && ["TEXT", "JSON"].includes(one.toUpperCase())
        : name === "level"
          ? typeof one === "string" && levelOf(one) !== null
          : name === "attrs" &&
            Array.isArray(one) &&
            one.every((part) => typeof part === "string" && part !== "");
    if (!good) return `${wanted} (${name} is ${JSON.stringify(one)})`;
  }
  return null;
}

function levelOf(text: string): LogLevel | null {
  const upper = text.toUpperCase() === "WARN" ? "WARNING" : text.toUpperCase();
  return logLevels.find((level) => level === upper) ?? null;
}

/** The variables that carry the option to workers. */
export function loggingVariables(options: LoggingOptions | undefined): Record<string, string> {
  if (options === undefined) return {};
  const wrong = loggingError(options);
  if (wrong !== null) throw new InvalidOptionError(`[invalid option] logging must be ${wrong}.`);
  const config: LoggingConfig = {
    encoding: options.encoding?.toUpperCase() === "JSON" ? "json" : "text",
    level: levelOf(options.level ?? "INFO") ?? "INFO",
    attrs: options.attrs ?? [],
  };
  return { [loggingVariable]: JSON.stringify(config) };
}
