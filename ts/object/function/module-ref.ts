// SPDX-License-Identifier: Apache-2.0
/**
 * Decides whether a value is better named by a module than carried: imports, requires, and exports
 * of modules other than the main script.
 *
 * Every answer is proved against live state at this moment (module scope, require cache), without
 * loading anything.
 */

import { createRequire, isBuiltin } from "node:module";
import { fileURLToPath } from "node:url";
import type { ModuleCapture, ModuleRef } from "./descriptor.ts";
import type { Scope } from "./inspect.ts";
import type { ModuleTable, RequireBinding } from "./module-table.ts";
import { type AnyFunction, isMainUrl, type Origin, withoutQuery } from "./origin.ts";

/** An export that is the very value asked for. */
export interface ExportName {
  readonly exportName: string;
  readonly via: "import" | "require";
}

/** The module scope of a chain, with its bindings' live values. */
export function moduleScope(scopes: readonly Scope[]): Scope | null {
  return scopes.find((scope) => scope.type === "Module") ?? null;
}

/** The export of its own module under which `fn` is reached, or null. */
export function exportOf(
  fn: AnyFunction,
  origin: Origin,
  mainUrls: readonly string[],
): ExportName | null {
  const { url } = origin;
  if (url === null || !url.startsWith("file:") || origin.revived !== null) return null;
  if (isMainUrl(url, mainUrls)) return null;
  const scope = moduleScope(origin.inspection.scopes);
  for (const [local, exportName] of scope === null ? [] : origin.table.exports) {
    if (scope?.variables[local] === fn) return { exportName, via: "import" };
  }
  if (!origin.table.isModule) return requiredExportOf(fn, url);
  // A declaration at the top of a module runs once: what stands there is the export. V8 shows no
  // module scope when nothing of it is closed over, and no binding for an anonymous default.
  const exportName =
    origin.offset === null ? undefined : origin.table.declarations.get(origin.offset);
  const rebound = [...origin.table.exports].some(
    ([local, name]) => name === exportName && scope !== null && local in scope.variables,
  );
  return exportName === undefined || rebound ? null : { exportName, via: "import" };
}

/** The name under which `exports` of a loaded CommonJS file holds `value`; `*` is all of it. */
export function requiredExportOf(value: unknown, url: string): ExportName | null {
  const exports = loadedExports(url);
  if (exports === undefined) return null;
  if (exports === value) return { exportName: "*", via: "require" };
  if (!isReference(exports)) return null;
  for (const key of Object.keys(exports)) {
    if ((exports as Record<string, unknown>)[key] === value)
      return { exportName: key, via: "require" };
  }
  return null;
}

/** The reference for a variable that the module imports or requires, or null. */
export function importedCapture(
  name: string,
  value: unknown,
  scope: Scope,
  origin: Origin,
  mainUrls: readonly string[],
): ModuleCapture | null {
  const { table, url } = origin;
  if (url === null) return null;
  if (scope.type === "Module") return importCapture(name, table, url, mainUrls);
  for (const binding of table.requires.get(name) ?? []) {
    const found = requireCapture(binding, value, url, mainUrls);
    if (found !== null) return found;
  }
  return null;
}

/** The loaded CommonJS module that has exactly these exports, or null. */
export function fileOfExports(exports: object, url: string | null): string | null {
  const cache = url?.startsWith("file:") === true ? createRequire(withoutQuery(url)).cache : {};
  for (const [path, module] of Object.entries(cache)) if (module?.exports === exports) return path;
  return null;
}

function importCapture(
  name: string,
  table: ModuleTable,
  url: string,
  mainUrls: readonly string[],
): ModuleCapture | null {
  const binding = table.imports.get(name);
  if (binding === undefined || binding.hasAttributes) return null;
  const { specifier, exportName } = binding;
  if (refersToMain(specifier, url, mainUrls)) return null;
  if (isBuiltin(specifier) && exportName !== "*") {
    return builtinCapture(specifier, exportName === "default" ? "*" : exportName, "none");
  }
  const parentUrl = isAbsolute(specifier) ? null : url;
  return {
    kind: "module",
    ref: { specifier, parentUrl, via: "import" },
    exportName,
    interop: "none",
  };
}

function requireCapture(
  binding: RequireBinding,
  value: unknown,
  url: string,
  mainUrls: readonly string[],
): ModuleCapture | null {
  const { specifier, member, interop } = binding;
  const exportName = member ?? "*";
  if (isBuiltin(specifier)) {
    const exports: unknown = process.getBuiltinModule(specifier);
    if (!holds(value, exports, binding)) return null;
    return builtinCapture(specifier, exportName, interop);
  }
  const path = resolveFrom(specifier, url);
  if (path === null || isMainUrl(path, mainUrls)) return null;
  const exports = loadedExports(path);
  if (exports === undefined || !holds(value, exports, binding)) return null;
  return {
    kind: "module",
    ref: { specifier, parentUrl: url, via: "require" },
    exportName,
    interop,
  };
}

/** True when `value` is what the declaration yields for these exports. */
function holds(value: unknown, exports: unknown, binding: RequireBinding): boolean {
  const { interop, member } = binding;
  if (interop === "none") {
    return (member === null ? exports : readMember(exports, member)) === value;
  }
  const plainDefault = interop === "node" || readMember(exports, "__esModule") !== true;
  const expected = plainDefault ? exports : readMember(exports, "default");
  if (member === "default") return value === expected;
  return member === null
    ? readMember(value, "default") === expected
    : readMember(exports, member) === value;
}

function builtinCapture(
  specifier: string,
  exportName: string,
  interop: ModuleCapture["interop"],
): ModuleCapture {
  const ref: ModuleRef = { specifier, parentUrl: null, via: "builtin" };
  return { kind: "module", ref, exportName, interop };
}

/** Loaded `module.exports` of a file URL; undefined when CommonJS did not load it. */
function loadedExports(url: string): unknown {
  const plain = withoutQuery(url);
  const { cache } = createRequire(plain);
  return (
    cache[fileURLToPath(plain)]?.exports ??
    cache[fileURLToPath(plain) + url.slice(plain.length)]?.exports
  );
}

function resolveFrom(specifier: string, url: string): string | null {
  if (!url.startsWith("file:")) return null;
  try {
    const path = createRequire(withoutQuery(url)).resolve(specifier);
    return new URL(`file://${encodePath(path)}`).href;
  } catch {
    return null; // The loader that resolved it is not the one that answers here.
  }
}

/** Keeps a loader's `?query` a query. */
function encodePath(path: string): string {
  return path.replaceAll("%", "%25").replaceAll("#", "%23").replaceAll("\\", "%5C");
}

function refersToMain(specifier: string, url: string, mainUrls: readonly string[]): boolean {
  if (!/^(\.{1,2}\/|\/|file:)/.test(specifier)) return false;
  const resolved = new URL(specifier, url).href;
  // `./main.js` may stand for main.ts.
  const asTs = resolved.replace(/\.([cm]?)jsx?$/, ".$1ts");
  return [resolved, asTs].some((candidate) => isMainUrl(candidate, mainUrls));
}

function isAbsolute(specifier: string): boolean {
  return /^(file|node|data|https?):/.test(specifier);
}

function readMember(owner: unknown, key: string): unknown {
  return isReference(owner) ? (owner as Record<string, unknown>)[key] : undefined;
}

function isReference(value: unknown): value is object {
  return typeof value === "function" || (typeof value === "object" && value !== null);
}
