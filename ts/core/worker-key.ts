// SPDX-License-Identifier: Apache-2.0
// The worker key: all that two workers must have in common to be exchangeable, as the JSON text of docs/design/0001-core.md.
// A driver makes it from its own process; a worker takes over the key of the job that it runs for. Reads the process only.

import { delimiter, dirname, join, resolve } from "node:path";
import { workerExecArgv } from "../object/function/index.ts";

export interface WorkerKeyBase {
  readonly job: number;
  readonly cwd: string;
  readonly envVars: Readonly<Record<string, string>>;
  readonly execArgv: readonly string[];
  readonly sysPath: readonly string[];
  readonly python: string;
  readonly namespace: string;
}

/** What this driver's workers share. */
export function driverKeyBase(
  job: number,
  namespace: string,
  envVars: Readonly<Record<string, string>>,
): WorkerKeyBase {
  const script = process.argv[1];
  const scriptDir = script === undefined ? [] : [dirname(resolve(script))];
  const pythonPath = (process.env.PYTHONPATH ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "");
  return {
    job,
    cwd: process.cwd(),
    envVars,
    execArgv: workerExecArgv(process.execArgv),
    sysPath: [...new Set([...scriptDir, process.cwd(), ...pythonPath])],
    python:
      process.env.POLYRAY_PYTHON ||
      (process.env.VIRTUAL_ENV ? join(process.env.VIRTUAL_ENV, "bin", "python") : ""),
    namespace,
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
  };
}

/** The key's text. Equal needs give equal text. */
export function workerKey(
  base: WorkerKeyBase,
  language: "ts" | "py",
  envVars: Readonly<Record<string, string>> = {},
): string {
  const merged = { ...base.envVars, ...envVars };
  const sorted = Object.fromEntries(Object.entries(merged).sort(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify({
    language,
    job: base.job,
    cwd: base.cwd,
    envVars: sorted,
    execArgv: base.execArgv,
    sysPath: base.sysPath,
    python: base.python,
    namespace: base.namespace,
  });
}
