// SPDX-License-Identifier: Apache-2.0
// Where this package is: the folder of its package.json. The only module that looks at its own place, because a bundle
// moves code; everything else that finds a file of the package starts here.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function findRoot(): string {
  const own = dirname(fileURLToPath(import.meta.url));
  for (let folder = own; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (dirname(folder) === folder) return own; // not in a package: errors name the place
  }
}

/** Absolute path of the package's folder. */
export const packageRoot = findRoot();

/** A file of the compiled package, such as `distFile("worker", "main.js")`; also while ts/ itself runs under a loader. */
export function distFile(...parts: string[]): string {
  return join(packageRoot, "dist", ...parts);
}
