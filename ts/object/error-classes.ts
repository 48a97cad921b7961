// SPDX-License-Identifier: Apache-2.0
// Error classes of the user's that this process has sent or received with code, by name: an error of such a class that
// comes back is an instance of it. Of two classes with one name the last counts. Classes are held weakly.

type ErrorClass = { readonly prototype: Error; readonly name: string };

const classes = new Map<string, WeakRef<ErrorClass>>();

/** Notes a class of errors; anything else is passed over. */
export function noteErrorClass(value: unknown): void {
  if (typeof value !== "function" || !((value as Partial<ErrorClass>).prototype instanceof Error))
    return;
  const { name } = value;
  if (name !== "" && !(name in globalThis)) classes.set(name, new WeakRef(value as ErrorClass));
}

/** What errors of a class of that name inherit from; null: not known here. */
export function errorPrototype(name: string): Error | null {
  return classes.get(name)?.deref()?.prototype ?? null;
}
