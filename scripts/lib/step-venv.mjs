// SPDX-License-Identifier: Apache-2.0
//
// The checkout's own Python environment, .venv, and what is installed in it: one stamp for each
// file of requirements/. pip reaches the package registry only when a file changed.

import { existsSync } from "node:fs";
import { must } from "./exec.mjs";
import { SetupError, step } from "./log.mjs";
import { findCmake, needPython } from "./needs.mjs";
import { at, venvDir, venvPython } from "./paths.mjs";
import { hashOf, isFresh, writeStamp } from "./stamp.mjs";

const pip = (...args) =>
  must(venvPython, ["-m", "pip", "--disable-pip-version-check", "install", "-q", ...args], {
    hint: "pip could not install; its message is above.",
  });

/** Makes .venv and installs the named files of requirements/ where they changed. */
export async function ensureVenv(groups = ["build"]) {
  if (!existsSync(venvPython)) {
    const python = needPython();
    step(".venv");
    await must(python, ["-m", "venv", venvDir]);
  }
  for (const group of groups) {
    const file = at("requirements", `${group}.txt`);
    const hash = hashOf([file], [venvDir]);
    if (isFresh(`venv-${group}`, hash, [venvPython, installedMark(group)])) continue;
    step(`Python packages: ${group}`);
    await pip("-r", file);
    await must(venvPython, ["-c", `open(${JSON.stringify(installedMark(group))}, "w").close()`]);
    writeStamp(`venv-${group}`, hash);
  }
}

// Lies in .venv, so that removing .venv makes its groups stale.
const installedMark = (group) => `${venvDir}/.installed-${group}`;

/** A usable cmake, from PyPI into .venv when the machine has none. */
export async function ensureCmake() {
  const found = findCmake();
  if (found !== null) return found;
  await ensureVenv();
  step("cmake from PyPI (the machine has none of 3.20 or newer)");
  await pip("cmake>=3.25,<5");
  const installed = findCmake();
  if (installed === null) throw new SetupError("cmake was installed but does not run");
  return installed;
}
