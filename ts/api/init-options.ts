// SPDX-License-Identifier: Apache-2.0
// The options of init: what they are, and their checks. Pure. Sizes and amounts are checked again against the machine by
// the runtime (ts/runtime/config.ts).

import { parseBytes } from "../base/amounts.ts";
import { InvalidOptionError } from "../base/errors.ts";
import { checkOptions, checks } from "../core/checks.ts";
import { type LoggingOptions, loggingError } from "../core/logging.ts";
import { checkRuntimeEnv } from "../core/runtime-env.ts";
import { type TracingOptions, tracingError } from "../core/tracing.ts";
import type { Bytes, RuntimeEnvOptions } from "../core/types.ts";
import type { NodeOptions } from "../runtime/config.ts";

/** Options of `init`. Without an address a runtime is started inside this process. */
export interface InitOptions {
  /** `auto` (the newest runtime of this user here), `host:port`, `session:<id>`, or `local` (start one even if POLYRAY_ADDRESS is set). */
  readonly address?: string;
  /** Logical CPUs of this node. Default: those of the machine. */
  readonly numCpus?: number;
  readonly numGpus?: number;
  /** Logical memory for tasks. Default: 70 % of the machine's. */
  readonly memory?: Bytes;
  /** Custom resources of this node by name. */
  readonly resources?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Size of the shared-memory object store. Default: 30 % of memory. It is a limit: memory is taken as it is used. */
  readonly objectStoreMemory?: Bytes;
  /** A folder on a memory file system for the store; default: anonymous memory. */
  readonly plasmaDirectory?: string;
  /**
   * One or several folders for values that the store has no room for (used in turn; they may be made). Default: the session's
   * own folder. What is there goes with the values, and at the latest with the runtime, however it ends.
   */
  readonly objectSpillingDirectory?: string | readonly string[];
  /**
   * "inline" runs everything in this process and thread, for debugging: functions are called directly, so breakpoints hold.
   * TypeScript only; a task that calls process.exit() ends the program. Default "processes".
   */
  readonly mode?: "processes" | "inline";
  /** Named actors are found within one namespace. */
  readonly namespace?: string;
  /** Environment of all workers of this driver. */
  readonly runtimeEnv?: RuntimeEnvOptions;
  /** Workers' output appears in this terminal. Default true. */
  readonly logToDriver?: boolean;
  /** How workers write their lines: `{ encoding: "json", level: "info", attrs: [] }`. Default: as they come. */
  readonly logging?: LoggingOptions;
  /** A second init gives the runtime that is there instead of an error. */
  readonly ignoreReinitError?: boolean;
  /** Accepted; the dashboard is not built yet. */
  readonly includeDashboard?: boolean;
  /**
   * OpenTelemetry spans of every submission and run of a call, in both languages, as one trace. Needs @opentelemetry/api and
   * an SDK that the program sets up; `setup` does that in workers (and here). Default: what POLYRAY_TRACING says, else false.
   */
  readonly tracing?: boolean | TracingOptions;
  /** Serve the metrics for Prometheus on 127.0.0.1 at this port (0: any; `Runtime.metricsUrl` has it). Default: not served. */
  readonly metricsPort?: number;
}

const folders = (value: unknown): string | null => {
  const all = Array.isArray(value) ? value : [value];
  return all.length > 0 && all.every((one) => typeof one === "string" && one !== "")
    ? null
    : "a folder's path or an array of them";
};

/** Checks of the options by name. */
export const initChecks = {
  address: checks.text,
  numCpus: checks.amount,
  numGpus: checks.amount,
  memory: checks.bytes,
  resources: checks.amounts,
  labels: checks.texts,
  objectStoreMemory: checks.bytes,
  plasmaDirectory: checks.text,
  objectSpillingDirectory: folders,
  mode: (value: unknown) =>
    value === "processes" || value === "inline" ? null : '"processes" or "inline"',
  namespace: checks.anyText,
  runtimeEnv: checkRuntimeEnv,
  logToDriver: checks.bool,
  logging: loggingError,
  ignoreReinitError: checks.bool,
  includeDashboard: checks.bool,
  tracing: tracingError,
  metricsPort: (value: unknown) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
      ? null
      : "a port: a whole number from 0 to 65535",
};

/** Throws InvalidOptionError naming the option; an unknown name lists the valid ones. */
export function checkInitOptions(options: InitOptions): void {
  checkOptions(options, initChecks, "init");
  if (options.includeDashboard === true) {
    throw new InvalidOptionError(
      "[invalid option] includeDashboard: the dashboard is not built yet. Leave it out.",
    );
  }
}

/** Throws for what has no meaning inside of one process. */
export function checkInline(options: InitOptions): void {
  for (const name of ["address", "plasmaDirectory", "metricsPort"] as const)
    if (options[name] !== undefined && options[name] !== "local")
      throw new InvalidOptionError(
        `[invalid option] ${name} has no meaning with mode: "inline", which starts no node. Leave it out.`,
      );
}

/** The part of the options that describes the node. */
export function nodeOptions(options: InitOptions): NodeOptions {
  return {
    numCpus: options.numCpus,
    numGpus: options.numGpus,
    memory: options.memory === undefined ? undefined : parseBytes(options.memory),
    resources: options.resources,
    labels: options.labels,
    objectStoreMemory:
      options.objectStoreMemory === undefined ? undefined : parseBytes(options.objectStoreMemory),
    plasmaDirectory: options.plasmaDirectory,
    objectSpillingDirectory: options.objectSpillingDirectory,
    namespace: options.namespace,
    metricsPort: options.metricsPort,
  };
}
