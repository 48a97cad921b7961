// SPDX-License-Identifier: Apache-2.0
// What the code generators share: where the repository is, writing a file, and the --check mode.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository, as a URL that ends in a slash. */
export const root = new URL("../", import.meta.url);
const check = process.argv.includes("--check");
const stale = [];

/** Writes one generated file, or with --check compares it. */
export function emit(path, text) {
  const file = fileURLToPath(new URL(path, root));
  let old = null;
  try {
    old = readFileSync(file, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  if (old === text) return;
  if (check) {
    stale.push(path);
    return;
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  console.log(`wrote ${path}`);
}

/** Ends a generator: with --check, fails when a file is out of date. */
export function finish() {
  for (const path of stale) console.error(`${path} is out of date: run the generator`);
  if (stale.length > 0) process.exitCode = 1;
}
