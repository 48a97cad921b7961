// SPDX-License-Identifier: Apache-2.0
// Which methods a class has, and what they ask for themselves. Reads prototypes; runs no user code (getters are skipped).

import { InvalidOptionError } from "../base/errors.ts";
import type { MethodDefaults } from "./actor-handle.ts";
import type { MethodOptions } from "./types.ts";

type AnyFunction = (...args: never[]) => unknown;

const ownOptions = new WeakMap<object, MethodOptions>();

/** Notes what `@method({...})` says of a method. */
export function noteMethod(fn: unknown, options: MethodOptions): void {
  if (typeof fn !== "function")
    throw new InvalidOptionError("[invalid option] @method() belongs before a method.");
  ownOptions.set(fn, options);
}

/** True for generator functions, sync or async. */
export function isGeneratorFunction(fn: AnyFunction): boolean {
  return /^(Async)?GeneratorFunction$/.test(Object.getPrototypeOf(fn)?.constructor?.name ?? "");
}

/** Public methods of a class with those it inherits, and their own options. */
export function methodsOf(Class: AnyFunction): {
  names: string[];
  own: Record<string, MethodDefaults>;
} {
  const names: string[] = [];
  const own: Record<string, MethodDefaults> = {};
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
      const stream = isGeneratorFunction(property.value as AnyFunction);
      if (stream || ownOptions.has(property.value))
        own[name] = { ...options, ...(stream ? { stream } : {}) };
    }
  }
  return { names, own };
}
