// SPDX-License-Identifier: Apache-2.0
//
// Which build steps are stale: a step's stamp (build/stamps/NAME) holds the hash of the
// contents of its inputs at its last success. Contents, not times, so that a fresh clone or
// a switched branch is judged rightly.

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { buildDir, root } from "./paths.mjs";

const SKIPPED = new Set([
  "node_modules",
  "__pycache__",
  ".venv",
  ".git",
  ".tap",
  ".mypy_cache",
  ".ruff_cache",
  ".pytest_cache",
]);

/** All files below a path (or the file itself), sorted, absolute. Missing paths give none. */
export function filesBelow(path, accept = () => true) {
  if (!existsSync(path)) return [];
  if (statSync(path).isFile()) return accept(path) ? [path] : [];
  const found = [];
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (SKIPPED.has(entry.name)) continue;
    const child = join(path, entry.name);
    if (entry.isDirectory()) found.push(...filesBelow(child, accept));
    else if (entry.isFile() && accept(child)) found.push(child);
  }
  return found.sort();
}

/** The hash of names and contents of the files below some paths, and of extra strings. */
export function hashOf(paths, extra = [], accept = undefined) {
  const hash = createHash("sha256");
  for (const text of extra) hash.update(`${text}\0`);
  for (const path of paths) {
    for (const file of filesBelow(path, accept)) {
      hash
        .update(`${relative(root, file)}\0`)
        .update(readFileSync(file))
        .update("\0");
    }
  }
  return hash.digest("hex");
}

const stampPath = (name) => join(buildDir, "stamps", name);

/** True when the step ended well with these inputs and all its outputs are still there. */
export function isFresh(name, hash, outputs = []) {
  const path = stampPath(name);
  if (!existsSync(path) || !outputs.every((output) => existsSync(output))) return false;
  return readFileSync(path, "utf8") === hash;
}

export function writeStamp(name, hash) {
  mkdirSync(dirname(stampPath(name)), { recursive: true });
  writeFileSync(stampPath(name), hash);
}

export function dropStamp(name) {
  rmSync(stampPath(name), { force: true });
}
