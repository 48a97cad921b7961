// SPDX-License-Identifier: Apache-2.0
//
// Which files of the tree are ours to keep tidy: what git tracks or would track, without
// generated and vendored code.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { at, root } from "./paths.mjs";

/** Made by a generator, or third-party: not formatted, not measured. */
export function isGenerated(path) {
  return (
    /(^|\/)(gen|third_party|fixtures|vectors)\//.test(path) ||
    /[-_.](generated|gen)\.[a-z]+$/.test(path) ||
    /(^|\/)(error-codes|limits|error_codes|_native)\.(ts|py|pyi|h|cc)$/.test(path)
  );
}

/** Paths (relative to the root) of all files that are tracked or not ignored. */
export function trackedFiles() {
  const list = execFileSync(
    "git",
    ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    { cwd: root, encoding: "utf8", maxBuffer: 64 << 20 },
  );
  return [...new Set(list.split("\0"))]
    .filter((path) => path !== "" && existsSync(at(path)))
    .sort();
}
