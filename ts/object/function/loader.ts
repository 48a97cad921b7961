// SPDX-License-Identifier: Apache-2.0
/**
 * Loads modules on behalf of revived functions, relative to the file each function was written in,
 * and compiles code that belongs to such a file.
 *
 * Owns: one `import()` per parent file, and the modules loaded so far. Loaders given by `--import` or `--require` apply, since all
 * loads go through Node's default loader.
 */

import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import vm from "node:vm";
import type { ModuleRef } from "./descriptor.ts";
import { knownNamespaces } from "./registry.ts";

/** Loads a module; gives its namespace, or `module.exports` for `require` and `builtin`. */
export type ImportModule = (ref: ModuleRef) => unknown;

type Importer = (specifier: string) => Promise<unknown>;

const importers = new Map<string, Importer>();
const metas = new Map<string, object>();
let warned = false;

/** Where to say that a piece of code stands. */
export interface CodePlace {
  readonly filename: string;
  readonly lineOffset: number;
  readonly columnOffset: number;
}

/** Compiles an expression; `import()` inside resolves relative to the place's file. */
export function evaluateAt(text: string, place: CodePlace): unknown {
  const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  // The types of Node 20 lack the constant; the run time has it since 20.12.
  const options = { ...place, importModuleDynamically } as unknown as vm.ScriptOptions;
  if (!warned) takeWarning(options);
  return new vm.Script(text, options).runInThisContext();
}

/** The default `ImportModule`. */
export function importModule(ref: ModuleRef): unknown {
  const { specifier, parentUrl, via } = ref;
  if (via === "builtin") return process.getBuiltinModule(specifier);
  if (via === "import") return importerOf(parentUrl ?? specifier)(specifier);
  if (parentUrl !== null) return requireOf(parentUrl)(specifier);
  return requireOf(specifier)(specifier.startsWith("file:") ? fileURLToPath(specifier) : specifier);
}

/** Modules that revived functions have used, by `keyOf`. */
const loaded = new Map<string, unknown>();

/** One name for one module as seen from one file. */
export function keyOf({ specifier, parentUrl, via }: ModuleRef): string {
  return `${via} ${parentUrl ?? ""} ${specifier}`;
}

/** Loads modules, so that `reviveFunctionNow` finds them. */
export async function loadModules(
  refs: Iterable<ModuleRef>,
  load: ImportModule = importModule,
): Promise<void> {
  for (const ref of refs) {
    if (!loaded.has(keyOf(ref))) keep(ref, await load(ref));
  }
}

/** A module if it can be had at once: loaded before, built in, or required. */
export function moduleNow(ref: ModuleRef): { readonly module: unknown } | null {
  const key = keyOf(ref);
  if (!loaded.has(key)) {
    if (ref.via === "import") return null;
    keep(ref, importModule(ref));
  }
  return { module: loaded.get(key) };
}

function keep(ref: ModuleRef, module: unknown): void {
  loaded.set(keyOf(ref), module);
  const isObject = typeof module === "object" && module !== null;
  if (isObject && ref.via !== "builtin" && !knownNamespaces.has(module)) {
    knownNamespaces.set(module, ref);
  }
}

/** `require` as the file at `url` has it. */
export function requireOf(url: string): NodeJS.Require {
  return createRequire(url.startsWith("file:") ? url : pathToFileURL(`${process.cwd()}/`));
}

/** `import.meta` as the file at `url` has it. */
export function importMetaOf(url: string): object {
  let meta = metas.get(url);
  if (meta === undefined) {
    const filename = url.startsWith("file:")
      ? fileURLToPath(url.replace(/[?#].*$/, ""))
      : undefined;
    const resolve = (specifier: string): string => resolveFrom(specifier, url);
    meta = {
      url,
      filename,
      dirname: filename === undefined ? undefined : dirname(filename),
      resolve,
    };
    metas.set(url, meta);
  }
  return meta;
}

function resolveFrom(specifier: string, url: string): string {
  if (/^(\.{1,2}\/|\/)/.test(specifier)) return new URL(specifier, url).href;
  if (URL.canParse(specifier)) return specifier;
  const resolved = requireOf(url).resolve(specifier);
  return resolved.startsWith("/")
    ? pathToFileURL(resolved).href
    : `node:${resolved.replace(/^node:/, "")}`;
}

function importerOf(url: string): Importer {
  let importer = importers.get(url);
  if (importer === undefined) {
    const filename = url.startsWith("file:") ? url : pathToFileURL(`${process.cwd()}/`).href;
    importer = evaluateAt("(s) => import(s)", {
      filename,
      lineOffset: 0,
      columnOffset: 0,
    }) as Importer;
    importers.set(url, importer);
  }
  return importer;
}

/**
 * Node warns once, at the first `import()` of such a script, that its default loader for scripts is
 * experimental: no news to a program's user. That first one is ours, and its warning stays here.
 */
function takeWarning(options: vm.ScriptOptions): void {
  warned = true;
  const emit = process.emitWarning;
  const filtered = (...args: Parameters<typeof emit>): void => {
    if (!String(args[0]).includes("USE_MAIN_CONTEXT_DEFAULT_LOADER")) emit.apply(process, args);
  };
  process.emitWarning = filtered as typeof emit;
  try {
    const first = new vm.Script(
      'import("node:module")',
      options,
    ).runInThisContext() as Promise<unknown>;
    first.catch(() => undefined); // The next import() reports what is wrong with loading.
  } finally {
    process.emitWarning = emit;
  }
}
