// SPDX-License-Identifier: Apache-2.0
/**
 * Names for objects that exist in every Node process: globals (`Object.defineProperty`, `Math`) and
 * what `node:` modules export. Captured variables that hold one travel as its name.
 *
 * The tables are made on first use from data properties only: no getter of the host runs, except
 * that of a global Node defines lazily. Objects a program put on `globalThis` are not intrinsics.
 */

import type { BuiltinCapture, Capture, ModuleCapture } from "./descriptor.ts";

/** Globals that Node defines as enumerable properties; a program's own globals look the same. */
const enumerableGlobals = new Set([
  "clearImmediate",
  "clearInterval",
  "clearTimeout",
  "fetch",
  "global",
  "queueMicrotask",
  "setImmediate",
  "setInterval",
  "setTimeout",
  "structuredClone",
]);

/** Globals behind a getter that costs nothing. */
const cheapGetters = new Set(["process", "Buffer"]);

/** Modules that are not worth listing: internal, deprecated or behind a flag. */
const unlistedModules = /^_|^(sys|punycode|test|sea|sqlite|wasi|trace_events|inspector)\b/;

let globals: Map<unknown, readonly string[]> | null = null;
const builtins = new Map<unknown, { specifier: string; exportName: string }>();
/** How much of `process.moduleLoadList`, which only grows, has been listed. */
let listed = 0;

/** The name of an intrinsic object or function, or null. */
export function findIntrinsic(value: unknown): Capture | null {
  globals ??= listGlobals();
  const path = globals.get(value);
  if (path !== undefined) return { kind: "builtin", path } satisfies BuiltinCapture;
  return findLazyGlobal(value) ?? findBuiltin(value);
}

/** A global that Node defines by a getter: it is loaded already if somebody holds its value. */
function findLazyGlobal(value: unknown): BuiltinCapture | null {
  if (!isReference(value)) return null;
  const ownName: unknown = typeof value === "function" ? value.name : value.constructor?.name;
  if (typeof ownName !== "string" || ownName === "") return null;
  const name = typeof value === "function" ? ownName : ownName[0]?.toLowerCase() + ownName.slice(1);
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
  if (descriptor?.get === undefined || !lazyGlobals.test(name)) return null;
  const found: unknown = (globalThis as Record<string, unknown>)[name];
  return found === value ? { kind: "builtin", path: [name] } : null;
}

const lazyGlobals = /^([A-Z]\w+|atob|btoa|crypto|performance|navigator)$/;

/** What a `builtin` capture stands for in this process. */
export function resolveIntrinsic(path: readonly string[]): unknown {
  if (path[0] === "Symbol.for") return Symbol.for(path[1] ?? "");
  const transpiled = path.length === 1 ? transpilerIntrinsics.get(path[0] ?? "") : undefined;
  if (transpiled !== undefined) return transpiled;
  let value: unknown = globalThis;
  for (const key of path) value = (value as Record<string, unknown>)[key];
  return value;
}

/** The name of a symbol that every process has, or null. */
export function findSymbol(symbol: symbol): BuiltinCapture | null {
  const key = Symbol.keyFor(symbol);
  if (key !== undefined) return { kind: "builtin", path: ["Symbol.for", key] };
  const name = Object.getOwnPropertyNames(Symbol).find(
    (known) => (Symbol as unknown as Record<string, unknown>)[known] === symbol,
  );
  return name === undefined ? null : { kind: "builtin", path: ["Symbol", name] };
}

/** Functions that transpilers put around a program's functions. */
export const transpilerIntrinsics: ReadonlyMap<string, unknown> = new Map([
  [
    "__name",
    (target: object, value: string) =>
      Object.defineProperty(target, "name", { value, configurable: true }),
  ],
]);

function findBuiltin(value: unknown): ModuleCapture | null {
  const { moduleLoadList } = process as unknown as { moduleLoadList: readonly string[] };
  for (; listed < moduleLoadList.length; listed += 1) {
    const entry = moduleLoadList[listed] ?? "";
    const name = entry.startsWith("NativeModule ") ? entry.slice(13) : "";
    if (name === "" || name.startsWith("internal/")) continue;
    if (!unlistedModules.test(name)) listModule(`node:${name}`);
  }
  const found = builtins.get(value);
  if (found === undefined) return null;
  const ref = { specifier: found.specifier, parentUrl: null, via: "builtin" } as const;
  return { kind: "module", ref, exportName: found.exportName, interop: "none" };
}

function listModule(specifier: string): void {
  const module: unknown = process.getBuiltinModule(specifier);
  if (!isReference(module)) return;
  note(builtins, module, { specifier, exportName: "*" });
  for (const [key, value] of dataProperties(module)) {
    note(builtins, value, { specifier, exportName: key });
  }
}

function listGlobals(): Map<unknown, readonly string[]> {
  const table = new Map<unknown, readonly string[]>([[globalThis, ["globalThis"]]]);
  const roots = new Map<string, object>();
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(globalThis))) {
    if (descriptor.enumerable === true && !enumerableGlobals.has(name)) continue;
    // Other getters load what they give (streams, fetch, all of node: under `node -e`).
    if (!("value" in descriptor) && !cheapGetters.has(name)) continue;
    const value: unknown = (globalThis as Record<string, unknown>)[name];
    if (!isReference(value) || value === globalThis) continue;
    roots.set(name, value);
    note(table, value, [name]);
  }
  for (const [name, root] of roots) {
    for (const [key, value] of dataProperties(root)) note(table, value, [name, key]);
    const prototype = (root as { prototype?: unknown }).prototype;
    if (!isReference(prototype)) continue;
    for (const [key, value] of dataProperties(prototype))
      note(table, value, [name, "prototype", key]);
  }
  return table;
}

function dataProperties(owner: object): [string, unknown][] {
  const found: [string, unknown][] = [];
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(owner))) {
    if ("value" in descriptor && isReference(descriptor.value)) found.push([key, descriptor.value]);
  }
  return found;
}

function note<T>(table: Map<unknown, T>, value: unknown, name: T): void {
  if (!table.has(value)) table.set(value, name);
}

function isReference(value: unknown): value is object {
  return typeof value === "function" || (typeof value === "object" && value !== null);
}
