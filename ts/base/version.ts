// SPDX-License-Identifier: Apache-2.0
// The version of this package, read once from its package.json. Both sides of a session must have the same.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "./package-root.ts";

/** Such as "0.1.0". */
export const version: string = (
  JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    version: string;
  }
).version;
