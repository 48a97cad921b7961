// SPDX-License-Identifier: Apache-2.0
// What a TypeScript worker does before it takes calls, when its environment asks for it: imports of tasks find the
// packages of the npm environment, and the set-up hook ("module#export") runs. A hook that fails is kept: every call of
// this worker is answered with it, and no user code runs.

import { register } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { makeError, type PolyrayError } from "../base/errors.ts";
import { hookVariable } from "../core/runtime-env.ts";

// Runs in Node's loader thread. A package of the environment comes before one of the driver's project; what polyray and
// installed packages import for themselves is left alone.
const hooks = (base: string): string => `
const base = ${JSON.stringify(base)};
const bare = /^(?![./]|[a-z][a-z0-9+.-]*:)/i;
export async function resolve(specifier, context, next) {
  const from = context.parentURL ?? "";
  if (bare.test(specifier) && !from.includes("/node_modules/")) {
    try {
      return await next(specifier, { ...context, parentURL: base });
    } catch (error) {
      if (error?.code !== "ERR_MODULE_NOT_FOUND" && error?.code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw error;
    }
  }
  return next(specifier, context);
}`;

/** Imports of tasks find the packages below `folder`. */
export function useModules(folder: string): void {
  const base = pathToFileURL(join(folder, "noop.js")).href;
  register(`data:text/javascript,${encodeURIComponent(hooks(base))}`, import.meta.url);
}

/** Runs the hook; gives the error that calls are to be answered with, or null. */
export async function runSetupHook(
  load: (specifier: string) => Promise<unknown>,
): Promise<PolyrayError | null> {
  const hook = process.env[hookVariable];
  if (hook === undefined) return null;
  const at = hook.lastIndexOf("#");
  try {
    const found = (await load(hook.slice(0, at))) as Record<string, unknown>;
    const run = found[hook.slice(at + 1)];
    if (typeof run !== "function") throw new Error(`it has no function "${hook.slice(at + 1)}"`);
    await run();
    return null;
  } catch (error) {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return makeError("RUNTIME_ENV_SETUP", `the setup hook ${hook} failed in the worker: ${why}`, {
      cause: error,
    });
  }
}
