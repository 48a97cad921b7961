// SPDX-License-Identifier: Apache-2.0
// Which methods a class has, and what they ask for themselves. Reads prototypes; runs no user code (getters are skipped).

import { InvalidOptionError } from "../base/errors.ts";
import type { MethodDefaults } from "./actor-handle.ts";
import { asksStream, checkMethodOptions } from "./options.ts";
import type { MethodOptions } from "./types.ts";

type AnyFunction = (...args: never[]) => unknown;

const ownOptions = new WeakMap<object, MethodOptions>();

/** Notes what `@method({...})` says of a method. */
export function noteMethod(fn: unknown, options: MethodOptions): void {
  if (typeof fn !== "function")
    throw new InvalidOptionError("[invalid option] @method() belongs before a method.");
  checkMethodOptions(options, `@method of ${fn.name}`);
  ownOptions.set(fn, options);
}

/** True for generator functions, sync or async. */
export function isGeneratorFunction(fn: AnyFunction): boolean {
  return /^(Async)?GeneratorFunction$/.test(Object.getPrototypeOf(fn)?.constructor?.name ?? "");
}

/** What handles have to know of a method's own options. */
function defaultsOf(options: MethodOptions, stream: boolean): MethodDefaults {
  const { timeoutMs, concurrencyGroup } = options;
  const maxTaskRetries = options.maxTaskRetries ?? options.retry?.max;
  return {
    ...(typeof options.numReturns === "number" ? { numReturns: options.numReturns } : {}),
    ...(maxTaskRetries === undefined ? {} : { maxTaskRetries }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(concurrencyGroup === undefined ? {} : { concurrencyGroup }),
    ...(stream ? { stream } : {}),
  };
}

/** Public methods of a class with those it inherits; what handles know of them; what `@method` said of them. */
export function methodsOf(Class: AnyFunction): {
  names: string[];
  own: Record<string, MethodDefaults>;
  asked: Record<string, MethodOptions>;
} {
  const names: string[] = [];
  const own: Record<string, MethodDefaults> = {};
  const asked: Record<string, MethodOptions> = {};
  for (
    let proto: unknown = Class.prototype;
    typeof proto === "object" && proto !== null && proto !== Object.prototype;
    proto = Object.getPrototypeOf(proto)
  ) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (name === "constructor" || typeof property.value !== "function" || names.includes(name))
        continue;
      names.push(name);
      const options = ownOptions.get(property.value) ?? {};
      const stream = isGeneratorFunction(property.value as AnyFunction) || asksStream(options);
      if (stream || ownOptions.has(property.value)) {
        own[name] = defaultsOf(options, stream);
        if (ownOptions.has(property.value)) asked[name] = options;
      }
    }
  }
  return { names, own, asked };
}
