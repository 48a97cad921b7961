// SPDX-License-Identifier: Apache-2.0
//
// Where things are in this checkout. Everything that a build makes lies in build/, dist/,
// node_modules/ and .venv/, all of them ignored by git.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository root. */
export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
/** A path below the root. */
export const at = (...parts) => join(root, ...parts);

export const buildDir = at("build");
export const releaseDir = at("build", "Release");
export const distDir = at("dist");
export const venvDir = at(".venv");
export const venvBin = at(".venv", "bin");
export const venvPython = at(".venv", "bin", "python");
export const nodeBin = (name) => at("node_modules", ".bin", name);
