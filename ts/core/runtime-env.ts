// SPDX-License-Identifier: Apache-2.0
// Runtime environments as TypeScript programs write them: their checks, and the fields that they travel as in the worker
// key (Ray's names; ts/node/environments/spec.ts reads them). Pure apart from making paths absolute.

import { resolve } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import { type Check, checks, isRecord } from "./checks.ts";
import type { RuntimeEnvOptions } from "./types.ts";

/** Variables and other fields of an environment. */
export interface EnvironmentParts {
  readonly envVars: Readonly<Record<string, string>>;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Names the module and export that a TypeScript worker runs before user code. */
export const hookVariable = "POLYRAY_SETUP_HOOK";

const { bool, positive, text, texts } = checks;
const isText = (v: unknown): v is string => text(v) === null;
const isList = (v: unknown): boolean => Array.isArray(v) && v.every(isText);
const list: Check = (v) => (isList(v) ? null : "a list of strings");
const timeout: Check = (v) =>
  typeof v === "number" && (v > 0 || v === -1) ? null : "a number > 0, or -1 for no limit";

function record(table: Readonly<Record<string, Check>>): Check {
  return (value) => {
    if (!isRecord(value)) return "an object";
    for (const [name, part] of Object.entries(value)) {
      if (part === undefined) continue;
      const check = table[name];
      if (check === undefined)
        return `an object without "${name}" (it may have: ${Object.keys(table).join(", ")})`;
      const wanted = check(part);
      if (wanted !== null) return `such that ${name} is ${wanted}`;
    }
    return null;
  };
}

const requirements = record({
  packages: list,
  check: bool,
  version: text,
  installOptions: list,
});
const tool: Check = (v) =>
  isText(v) || isList(v)
    ? null
    : isRecord(v)
      ? requirements(v)
      : "a list of requirements, the path of a requirements file, or { packages: [...] }";

const python: Check = (value) => {
  const wrong = record({ pip: tool, uv: tool, modules: list, executable: text, conda: text })(
    value,
  );
  if (wrong !== null) return wrong;
  const both = (value as Record<string, unknown>).pip !== undefined;
  return both && (value as Record<string, unknown>).uv !== undefined
    ? "an object with pip or uv, not both"
    : null;
};

const node = record({
  packageJson: text,
  lockfile: text,
  packages: texts,
  executable: text,
  execArgv: list,
  resourceLimits: record({
    maxOldGenerationSizeMb: positive,
    maxYoungGenerationSizeMb: positive,
    stackSizeMb: positive,
  }),
});

/** Null, or what the option must be. */
export const checkRuntimeEnv: Check = record({
  envVars: texts,
  workingDir: text,
  excludes: list,
  python,
  node,
  setupHook: (v) => (isText(v) && v.includes("#") ? null : 'a string "module#export"'),
  config: record({ setupTimeoutMs: timeout, eager: bool }),
});

/** What an environment asks of a worker. Paths become absolute, from this process's working folder. */
export function environmentParts(env: RuntimeEnvOptions | undefined): EnvironmentParts {
  if (env === undefined) return { envVars: {}, fields: {} };
  const fields: Record<string, unknown> = {};
  const put = (name: string, value: unknown): void => {
    if (value !== undefined) fields[name] = value;
  };
  put("working_dir", place(env.workingDir));
  put("excludes", env.excludes);
  put(
    "py_modules",
    env.python?.modules?.map((one) => place(one)),
  );
  put("pip", toolFields(env.python?.pip, "pip"));
  put("uv", toolFields(env.python?.uv, "uv"));
  put("py_executable", env.python?.executable);
  put("conda", env.python?.conda);
  put("node", env.node === undefined ? undefined : nodeFields(env.node));
  put("config", configFields(env.config));
  const hook = env.setupHook === undefined ? {} : { [hookVariable]: env.setupHook };
  return { envVars: { ...env.envVars, ...hook }, fields };
}

function place(path: string | undefined): string | undefined {
  return path === undefined || /^[a-z][a-z0-9+.-]*:\/\//i.test(path) ? path : resolve(path);
}

type Tool = NonNullable<NonNullable<RuntimeEnvOptions["python"]>["pip"]>;

function toolFields(given: Tool | undefined, name: "pip" | "uv"): unknown {
  if (given === undefined) return undefined;
  if (typeof given === "string") return { packages: [`-r ${resolve(given)}`] };
  if (!("packages" in given)) return given.length === 0 ? undefined : { packages: given };
  const { packages, check, version, installOptions } = given;
  const options = name === "pip" ? "pip_install_options" : "uv_pip_install_options";
  return {
    packages,
    ...(check === undefined ? {} : { [`${name}_check`]: check }),
    ...(version === undefined ? {} : { [`${name}_version`]: version }),
    ...(installOptions === undefined ? {} : { [options]: installOptions }),
  };
}

function nodeFields(given: NonNullable<RuntimeEnvOptions["node"]>): Record<string, unknown> {
  if (given.packageJson !== undefined && given.packages !== undefined)
    throw new InvalidOptionError(
      "[invalid option] runtimeEnv.node has packageJson and packages: give one of them.",
    );
  return {
    ...given,
    ...(given.packageJson === undefined ? {} : { packageJson: resolve(given.packageJson) }),
    ...(given.lockfile === undefined ? {} : { lockfile: resolve(given.lockfile) }),
  };
}

function configFields(given: RuntimeEnvOptions["config"]): unknown {
  if (given === undefined) return undefined;
  const { setupTimeoutMs, eager } = given;
  return {
    ...(setupTimeoutMs === undefined
      ? {}
      : { setup_timeout_seconds: setupTimeoutMs < 0 ? -1 : setupTimeoutMs / 1000 }),
    ...(eager === undefined ? {} : { eager_install: eager }),
  };
}
