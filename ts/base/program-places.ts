// SPDX-License-Identifier: Apache-2.0
// Where optional packages are looked for: the program's folder, its script, and at last beside polyray itself.

import { createRequire } from "node:module";
import { join } from "node:path";

/** A package as the program would find it, with a `require` that knows it; null when it is nowhere. */
export function findPackage(name: string): { file: string; require: NodeJS.Require } | null {
  const main = process.argv[1];
  const places = [join(process.cwd(), "polyray-lookup.js"), ...(main === undefined ? [] : [main])];
  for (const place of [...places, import.meta.url]) {
    try {
      const require = createRequire(place);
      return { file: require.resolve(name), require };
    } catch {}
  }
  return null;
}
