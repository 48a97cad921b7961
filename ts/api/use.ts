// SPDX-License-Identifier: Apache-2.0
// Wrapping every call, and preparing every worker.

import { InvalidOptionError } from "../base/errors.ts";
import { connection } from "../core/context.ts";
import { type Interceptor, submitting } from "../core/interceptors.ts";
import { addPlugin, type WorkerPlugin } from "../core/plugins.ts";

/** Functions around calls; each calls `next(call)` and gives its result, or another one. */
export interface Interceptors {
  /** Around `remote()` in this process: sees refs. */
  readonly submit?: Interceptor;
  /** Around the body in the workers: sees values. It travels with its captured variables. */
  readonly execute?: Interceptor;
}

function checkFunctions(given: object, names: readonly string[], where: string): void {
  for (const [name, value] of Object.entries(given)) {
    if (!names.includes(name))
      throw new InvalidOptionError(
        `[invalid option] ${where} has no option "${name}". Valid options: ${names.join(", ")}.`,
      );
    if (value !== undefined && typeof value !== "function")
      throw new InvalidOptionError(`[invalid option] ${where}: ${name} must be a function.`);
  }
}

/**
 * Wraps every call: `use({ submit: (call, next) => next(call) })`. `execute` reaches workers through functions and classes
 * that are called after this. Disposing the answer ends `submit`.
 */
export function use(interceptors: Interceptors): Disposable {
  checkFunctions(interceptors, ["submit", "execute"], "use");
  const { submit, execute } = interceptors;
  if (execute !== undefined) addPlugin(connection(), { execute });
  const remove = submit === undefined ? () => undefined : submitting.add(submit);
  return { [Symbol.dispose]: remove };
}

/** Runs `setup` in every TypeScript worker before its first call, from the next calls on; `teardown` when it ends in order. */
export function registerWorkerPlugin(plugin: WorkerPlugin): void {
  checkFunctions(plugin, ["setup", "teardown"], "registerWorkerPlugin");
  addPlugin(connection(), plugin);
}
