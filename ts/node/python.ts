// SPDX-License-Identifier: Apache-2.0
// Which Python runs the workers: found once per (project folder, environment), checked before it is used.
//
// Order: POLYRAY_PYTHON, VIRTUAL_ENV, `.venv` of the project (up from the driver's folder, then of this package),
// the first `python3` on the PATH. A Python without the polyray package, or with another version of it, is a typed
// error that says which interpreter was asked and how to mend it. Runs no Python when nobody needs one.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { RuntimeEnvSetupError, VersionMismatchError } from "../base/errors.ts";

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

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

const checkProgram = `
import sys, json
out = {"python": "%d.%d.%d" % sys.version_info[:3], "polyray": None, "error": None}
try:
    import polyray
    out["polyray"] = polyray.__version__
except BaseException as e:
    out["error"] = "%s: %s" % (type(e).__name__, e)
print(json.dumps(out))
`;

const checked = new Map<string, Promise<void>>();

/** Resolves when `python` can be a worker of this version; rejects with a typed error. Asked once per interpreter. */
export function checkPython(
  python: string,
  version: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const key = `${python}\0${env.PYTHONPATH ?? ""}`;
  let answer = checked.get(key);
  if (answer === undefined) {
    answer = runCheck(python, version, env);
    checked.set(key, answer);
    answer.catch(() => checked.delete(key)); // a mended Python is asked again
  }
  return answer;
}

interface Checked {
  readonly python: string;
  readonly polyray: string | null;
  readonly error: string | null;
}

// The last line: a sitecustomize of the user may print before it.
function readCheck(stdout: string): Checked | null {
  try {
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Checked;
  } catch {
    return null;
  }
}

function runCheck(python: string, version: string, env: NodeJS.ProcessEnv): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(python, ["-c", checkProgram], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      if (error !== null) {
        reject(noPython(`${python} could not be run: ${(stderr || error.message).trim()}`));
        return;
      }
      const found = readCheck(stdout);
      if (found === null) {
        reject(
          noPython(
            `${python} gave no answer to the check of its packages; it printed: ${stdout.trim().slice(-200)}`,
          ),
        );
        return;
      }
      if (found.polyray === null) {
        reject(
          new RuntimeEnvSetupError(
            `[runtime env] ${python} (Python ${found.python}) cannot import polyray: ${found.error}. ` +
              `Install it there (\`${python} -m pip install polyray\`), or set POLYRAY_PYTHON to a Python that has it.`,
          ),
        );
      } else if (found.polyray !== version) {
        reject(
          new VersionMismatchError(
            `[version mismatch] ${python} has polyray ${found.polyray}, this runtime is ${version}. Install the same version on both sides.`,
          ),
        );
      } else resolve();
    });
  });
}
