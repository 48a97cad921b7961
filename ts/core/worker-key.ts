// SPDX-License-Identifier: Apache-2.0
// The worker key: all that two workers must have in common to be exchangeable, as the JSON text of docs/design/0001-core.md.
// A driver makes it from its own process; a worker takes over the key of the job that it runs for. Reads the process only.

import { delimiter, dirname, join, resolve } from "node:path";
import { workerExecArgv } from "../object/function/index.ts";
import { environmentParts } from "./runtime-env.ts";
import type { RuntimeEnvOptions } from "./types.ts";

export interface WorkerKeyBase {
  readonly job: number;
  readonly cwd: string;
  readonly envVars: Readonly<Record<string, string>>;
  readonly execArgv: readonly string[];
  readonly sysPath: readonly string[];
  readonly python: string;
  readonly namespace: string;
  /** What else the workers' environment has (ts/core/runtime-env.ts); absent: nothing. */
  readonly runtimeEnv?: EnvironmentFields;
  /** Ids of the plugins that TypeScript workers load (ts/core/plugins.ts); absent: none. */
  readonly plugins?: readonly string[];
}

/** Fields of a runtime environment beside its variables, as they travel (ts/node/environments/spec.ts). */
export type EnvironmentFields = Readonly<Record<string, unknown>>;

/** What this driver's workers share. */
export function driverKeyBase(
  job: number,
  namespace: string,
  runtimeEnv?: RuntimeEnvOptions,
  ownVariables: Readonly<Record<string, string>> = {},
): WorkerKeyBase {
  const { envVars, fields } = environmentParts(runtimeEnv);
  const script = process.argv[1];
  const scriptDir = script === undefined ? [] : [dirname(resolve(script))];
  const pythonPath = (process.env.PYTHONPATH ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "");
  return {
    job,
    cwd: process.cwd(),
    envVars: { ...envVars, ...ownVariables },
    execArgv: workerExecArgv(process.execArgv),
    sysPath: [...new Set([...scriptDir, process.cwd(), ...pythonPath])],
    python:
      process.env.POLYRAY_PYTHON ||
      (process.env.VIRTUAL_ENV ? join(process.env.VIRTUAL_ENV, "bin", "python") : ""),
    namespace,
    ...(Object.keys(fields).length === 0 ? {} : { runtimeEnv: fields }),
  };
}

/** The base that a worker inherits from the job it runs for. */
export function inheritedKeyBase(text: string): WorkerKeyBase {
  const key = JSON.parse(text) as Partial<WorkerKeyBase>;
  return {
    job: key.job ?? 0,
    cwd: key.cwd ?? process.cwd(),
    envVars: key.envVars ?? {},
    execArgv: key.execArgv ?? [],
    sysPath: key.sysPath ?? [],
    python: key.python ?? "",
    namespace: key.namespace ?? "",
    ...(key.runtimeEnv === undefined ? {} : { runtimeEnv: key.runtimeEnv }),
    ...(key.plugins === undefined ? {} : { plugins: key.plugins }),
  };
}

/** The key's text. Equal needs give equal text. */
export function workerKey(
  base: WorkerKeyBase,
  language: "ts" | "py",
  runtimeEnv?: RuntimeEnvOptions,
): string {
  const own = environmentParts(runtimeEnv);
  const fields = { ...base.runtimeEnv, ...own.fields };
  return JSON.stringify({
    language,
    job: base.job,
    cwd: base.cwd,
    envVars: sorted({ ...base.envVars, ...own.envVars }),
    execArgv: base.execArgv,
    sysPath: base.sysPath,
    python: base.python,
    namespace: base.namespace,
    ...(Object.keys(fields).length === 0 ? {} : { runtimeEnv: sorted(fields) }),
    ...(base.plugins === undefined ? {} : { plugins: base.plugins }),
  });
}

function sorted<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
