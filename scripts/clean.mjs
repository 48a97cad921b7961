// SPDX-License-Identifier: Apache-2.0
//
// `npm run clean`: removes what builds made (build/, dist/); with --all, .venv and node_modules too.

import { rmSync } from "node:fs";
import { at, buildDir, distDir, venvDir } from "./lib/paths.mjs";

const targets = [
  buildDir,
  distDir,
  ...(process.argv.includes("--all") ? [venvDir, at("node_modules")] : []),
];
for (const target of targets) rmSync(target, { recursive: true, force: true });
