// SPDX-License-Identifier: Apache-2.0
//
// `npm run build [-- native|python|ts ...] [--force] [--sanitize=address|thread]`: builds what is
// stale. Native code goes to build/Release, TypeScript to dist/, the Python package to .venv.

import { parseArgs } from "node:util";
import { withBuildLock } from "./lib/lock.mjs";
import { main, SetupError } from "./lib/log.mjs";
import { needNode } from "./lib/needs.mjs";
import { buildNative } from "./lib/step-native.mjs";
import { nodeModulesFresh } from "./lib/step-npm.mjs";
import { buildPython } from "./lib/step-python.mjs";
import { buildTs } from "./lib/step-ts.mjs";
import { ensureVenv } from "./lib/step-venv.mjs";

const steps = ["native", "python", "ts"];

/** Some steps of the build failed; their messages were printed. */
export class BuildError extends SetupError {
  constructor(steps) {
    super(`the build failed: ${steps.join(", ")}`);
    this.steps = steps;
  }
}

/** Builds the named steps in order; all are tried, failures are reported at the end. */
export async function build(names = steps, options = {}) {
  const failures = [];
  const attempt = async (name, body) => {
    if (!names.includes(name)) return;
    try {
      await body();
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      console.error(`error: ${error.message}`);
      failures.push(name);
    }
  };
  await withBuildLock(async () => {
    await ensureVenv(["build"]);
    await attempt("native", () => buildNative(options));
    await attempt("ts", () => buildTs(options));
    await attempt("python", () => buildPython(options));
  });
  if (failures.length > 0) throw new BuildError(failures);
}

if (process.argv[1] === import.meta.filename) {
  await main(async () => {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { force: { type: "boolean" }, sanitize: { type: "string" } },
    });
    needNode();
    const unknown = positionals.filter((name) => !steps.includes(name));
    if (unknown.length > 0) throw new SetupError(`no such build step: ${unknown.join(", ")}`);
    if (!nodeModulesFresh())
      throw new SetupError("node_modules does not match package-lock.json", "Run npm ci first.");
    const options = { force: values.force ?? false, sanitize: values.sanitize ?? "" };
    await build(positionals.length > 0 ? positionals : steps, options);
  });
}
