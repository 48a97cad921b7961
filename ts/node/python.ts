// SPDX-License-Identifier: Apache-2.0
// Which Python runs the workers: found once per (project folder, environment), checked before it is used.
//
// Order: POLYRAY_PYTHON, VIRTUAL_ENV, `.venv` of the project (up from the driver's folder, then of this package),
// the first `python3` on the PATH. A Python without the polyray package, or with another version of it, is a typed
// error that says which interpreter was asked and how to mend it. Runs no Python: the start process (zygote.ts) reports.

import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { RuntimeEnvSetupError, VersionMismatchError } from "../base/errors.ts";
import { packageRoot } from "../base/package-root.ts";

/** Path of the interpreter that workers of a driver in `cwd` use. Throws RuntimeEnvSetupError when there is none. */
export function findPython(cwd: string, env: NodeJS.ProcessEnv = process.env): string {
  const asked = env.POLYRAY_PYTHON;
  if (asked) {
    if (asked.includes("/") && !existsSync(asked))
      throw noPython(`POLYRAY_PYTHON names ${asked}, which does not exist`);
    return asked;
  }
  const tried: string[] = [];
  const candidates = [
    ...(env.VIRTUAL_ENV ? [join(env.VIRTUAL_ENV, "bin", "python")] : []),
    ...upwards(cwd).map((folder) => join(folder, ".venv", "bin", "python")),
    join(packageRoot, ".venv", "bin", "python"),
    ...(env.PATH ?? "").split(delimiter).map((folder) => join(folder, "python3")),
  ];
  for (const candidate of candidates) {
    if (existsSync(candidate)) return candidate;
    tried.push(candidate);
  }
  throw noPython(
    `no Python interpreter found (looked at ${tried.slice(0, 6).join(", ")}${tried.length > 6 ? ", ..." : ""})`,
  );
}

function noPython(why: string): RuntimeEnvSetupError {
  return new RuntimeEnvSetupError(
    `[runtime env] ${why}. Set POLYRAY_PYTHON to a Python >= 3.10 that has the polyray package.`,
  );
}

function upwards(start: string): string[] {
  const folders: string[] = [];
  for (let folder = start; ; folder = dirname(folder)) {
    folders.push(folder);
    if (dirname(folder) === folder) return folders;
  }
}

/** What the first line of a Python start process says. */
export interface PythonFound {
  readonly python: string;
  /** Version of the polyray package; null when it cannot be imported. */
  readonly polyray: string | null;
  readonly error: string | null;
}

/** Program of a Python start process: reports itself on descriptor 3, then serves (polyray/zygote.py). */
export const startProgram = `
import sys
sys.path[:] = [p for p in sys.path if p]
import json, os
def say(**found):
    os.write(3, (json.dumps({"ready": found}) + "\\n").encode())
version = "%d.%d.%d" % sys.version_info[:3]
try:
    import polyray
    found = polyray.__version__
    if found == os.environ.get("POLYRAY_VERSION", found):
        from polyray.zygote import main
except BaseException as e:
    say(python=version, polyray=None, error="%s: %s" % (type(e).__name__, e))
    sys.exit(0)
if found != os.environ.get("POLYRAY_VERSION", found):
    say(python=version, polyray=found, error=None)
    sys.exit(0)
main(lambda: say(python=version, polyray=found, error=None))
`;

/** Why this Python cannot run workers of `version`; null when it can. */
export function judgePython(
  python: string,
  found: PythonFound,
  version: string,
): RuntimeEnvSetupError | VersionMismatchError | null {
  if (found.polyray === null) {
    return new RuntimeEnvSetupError(
      `[runtime env] ${python} (Python ${found.python}) cannot import polyray: ${found.error}. ` +
        `Install it there (\`${python} -m pip install polyray\`), or set POLYRAY_PYTHON to a Python that has it.`,
    );
  }
  if (found.polyray === version) return null;
  return new VersionMismatchError(
    `[version mismatch] ${python} has polyray ${found.polyray}, this runtime is ${version}. Install the same version on both sides.`,
  );
}

/** The error of a Python that did not get as far as its first line. */
export function notRunnable(python: string, why: string): RuntimeEnvSetupError {
  return noPython(`${python} could not be run: ${why.trim().slice(-1000) || "it ended at once"}`);
}
