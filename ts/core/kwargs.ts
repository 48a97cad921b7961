// SPDX-License-Identifier: Apache-2.0
// Keyword arguments for a Python function or method: the last argument of the call.

/** What `kwargs` makes. */
export class Kwargs {
  constructor(readonly values: Readonly<Record<string, unknown>>) {}
}

/** Keyword arguments: `f.remote(1, kwargs({ sample_count: 10 }))`. Only for Python functions, classes and methods. */
export function kwargs(values: Readonly<Record<string, unknown>>): Kwargs {
  return new Kwargs(values);
}

/** Splits trailing keyword arguments off. */
export function splitKwargs(args: readonly unknown[]): {
  positional: readonly unknown[];
  named: Readonly<Record<string, unknown>> | null;
} {
  const last = args.length === 0 ? undefined : args[args.length - 1];
  if (last instanceof Kwargs) return { positional: args.slice(0, -1), named: last.values };
  return { positional: args, named: null };
}
