// SPDX-License-Identifier: Apache-2.0
//
// `npm run setup [-- --demo]`, and the first thing that test and demo do: checks the machine,
// then installs and builds what is missing or stale. Under a second when nothing is.

import { build } from "./build.mjs";
import { withBuildLock } from "./lib/lock.mjs";
import { main } from "./lib/log.mjs";
import { needCompiler, needGoogleTest, needNode, needPython } from "./lib/needs.mjs";
import { ensureNodeModules, nodeModulesFresh } from "./lib/step-npm.mjs";
import { ensureVenv } from "./lib/step-venv.mjs";

/** Brings the checkout up to date for the given purpose. */
export async function setup({
  groups = ["build", "test"],
  steps = undefined,
  nativeTests = false,
} = {}) {
  needNode();
  needPython();
  needCompiler();
  if (nativeTests) needGoogleTest();
  if (!nodeModulesFresh()) await withBuildLock(ensureNodeModules);
  await withBuildLock(() => ensureVenv(groups));
  await build(steps);
}

if (process.argv[1] === import.meta.filename) {
  const groups = ["build", "test", ...(process.argv.includes("--demo") ? ["demo"] : [])];
  await main(() => setup({ groups }));
}
