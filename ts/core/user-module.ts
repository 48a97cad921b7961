// SPDX-License-Identifier: Apache-2.0
// Loads a module that a program names: a file URL, a path, or a package as seen from the working folder. TypeScript modules
// work with the driver's loader, with Node's own type stripping, or, failing both, with the project's tsx.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Imports the module. Rejects with what its own code threw, or why it does not load. */
export async function importUser(specifier: string): Promise<unknown> {
  const url = moduleUrl(specifier);
  if (/\.[cm]?tsx?$/.test(new URL(url).pathname)) await ensureTypeScript(url);
  return import(url);
}

/** A file URL, a path (relative to the working folder), or a package as seen from the working folder. */
function moduleUrl(specifier: string): string {
  if (/^[a-z]+:/.test(specifier) && !/^[a-zA-Z]:[\\/]/.test(specifier)) return specifier;
  if (
    isAbsolute(specifier) ||
    specifier.startsWith("./") ||
    specifier.startsWith("../") ||
    /\.[cm]?[jt]sx?$/.test(specifier)
  ) {
    return pathToFileURL(resolve(specifier)).href;
  }
  return pathToFileURL(createRequire(join(process.cwd(), "noop.js")).resolve(specifier)).href;
}

let typeScript: Promise<void> | null = null;

function ensureTypeScript(url: string): Promise<void> {
  typeScript ??= startTypeScript(url);
  return typeScript;
}

async function startTypeScript(url: string): Promise<void> {
  const features = process.features as { typescript?: unknown };
  const hasLoader = process.execArgv.some((arg) => /tsx|ts-node|swc|esbuild|loader/.test(arg));
  if (features.typescript || hasLoader) return;
  for (const from of [
    fileURLToPath(url),
    join(process.cwd(), "noop.js"),
    fileURLToPath(import.meta.url),
  ]) {
    let path: string;
    try {
      path = createRequire(from).resolve("tsx/esm/api");
    } catch {
      continue; // not installed there
    }
    // The CommonJS copy looks for its hooks where they are not: take the ES module beside it.
    const module = path.replace(/\.cjs$/, ".mjs");
    const entry = pathToFileURL(existsSync(module) ? module : path).href;
    const api = (await import(entry)) as { register(): unknown };
    api.register();
    return;
  }
  throw new Error(
    `TypeScript needs a loader on Node ${process.version}: install tsx (npm install tsx), or give a .js module`,
  );
}
