// SPDX-License-Identifier: Apache-2.0
//
// Builds core, addon and guardian into build/Release by cmake-js, incrementally, in
// build/cmake (build/cmake-address and -thread for the sanitizers). cmake-js downloads nothing
// here: package.json names napi_versions, and all include folders are passed.

import { copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { availableParallelism } from "node:os";
import { capture, run, which } from "./exec.mjs";
import { note, SetupError, step } from "./log.mjs";
import { needCompiler } from "./needs.mjs";
import { nodePrefix } from "./node-headers.mjs";
import { at, nodeBin, releaseDir, venvBin } from "./paths.mjs";
import { checkSources, readSources } from "./sources.mjs";
import { hashOf, isFresh, writeStamp } from "./stamp.mjs";
import { ensureCmake } from "./step-venv.mjs";

const inputs = () => [at("native"), at("cmake"), at("CMakeLists.txt"), at("package-lock.json")];

/** Files that the native build makes, for the given sanitizer ("" = none). */
export function nativeLayout(sanitize = "") {
  const suffix = sanitize === "" ? "" : `-${sanitize}`;
  return {
    workDir: at("build", `cmake${suffix}`),
    outDir: sanitize === "" ? releaseDir : at("build", `Release${suffix}`),
  };
}

function outputNames() {
  const names = ["polyray.node"];
  if ((readSources().get("guardian") ?? []).length > 0) names.push("polyray-guardian");
  return names;
}

const outputs = (outDir) => outputNames().map((name) => `${outDir}/${name}`);
const linkedDir = (workDir) => `${workDir}/linked`;

// A process may have the old file mapped: it keeps it, since the new one takes its name, not its bytes.
function replaceOutputs(workDir, outDir) {
  mkdirSync(outDir, { recursive: true });
  for (const name of outputNames()) {
    const made = `${linkedDir(workDir)}/${name}`;
    if (!existsSync(made)) throw new SetupError(`the native build made no ${made}`);
    copyFileSync(made, `${outDir}/.${name}.${process.pid}`);
    renameSync(`${outDir}/.${name}.${process.pid}`, `${outDir}/${name}`);
  }
}

/** Stops on a listed source that is missing; warns of one that no section lists. */
function verifySources() {
  const { missing, unlisted, doubled } = checkSources();
  if (missing.length > 0) {
    throw new SetupError(`native/sources.txt lists files that do not exist: ${missing.join(", ")}`);
  }
  if (doubled.length > 0) {
    throw new SetupError(`native/sources.txt lists files twice: ${doubled.join(", ")}`);
  }
  if (unlisted.length > 0) {
    const more = unlisted.length > 3 ? ` and ${unlisted.length - 3} more` : "";
    note(
      `warning: not in native/sources.txt, so not built: ${unlisted.slice(0, 3).join(", ")}${more}`,
    );
  }
}

/** Configures and builds. With `tests`, builds the GoogleTest programs too. */
export async function buildNative({ sanitize = "", tests = false, force = false } = {}) {
  const { workDir, outDir } = nativeLayout(sanitize);
  const name = `native${sanitize === "" ? "" : `-${sanitize}`}`;
  const hash = hashOf(inputs(), [process.version, process.env.CXX ?? ""]);
  const fresh = !force && isFresh(name, hash, outputs(outDir));
  if (fresh && !tests) return;
  verifySources();
  step(
    `native${sanitize === "" ? "" : ` with the ${sanitize} sanitizer`}${tests ? " and its tests" : ""}`,
  );
  const cmakeJs = await configureArgs(workDir, sanitize);
  await quietly(["configure", ...cmakeJs]);
  const jobs = String(Math.max(1, Math.min(availableParallelism(), 4)));
  await quietly(["build", ...cmakeJs, "--parallel", jobs]);
  if (tests) {
    await quietly(["build", ...cmakeJs, "--parallel", jobs, "--target", "native_tests"]);
  }
  replaceOutputs(workDir, outDir);
  writeStamp(name, hash);
}

// cmake-js with its output held back, shown when it fails (without the lines of what went well).
async function quietly(args) {
  const held = [];
  const code = await run(nodeBin("cmake-js"), args, { onLine: (line) => held.push(line) });
  if (code === 0) return;
  console.log(
    held
      .filter((line) => !/^(\[\d+\/\d+\]|-- )/.test(line))
      .slice(-200)
      .join("\n"),
  );
  throw new SetupError(`cmake-js ${args[0]} ended with code ${code}`);
}

async function configureArgs(workDir, sanitize) {
  needCompiler();
  const prefix = await nodePrefix();
  const napi = capture(process.execPath, ["-p", "require('node-addon-api').include_dir"], {
    cwd: at(),
  });
  if (napi === null) throw new SetupError("node-addon-api is not installed", "Run npm ci first.");
  const cmake = await ensureCmake();
  const ninja = which("ninja") ?? `${venvBin}/ninja`;
  const defines = {
    CMAKE_LIBRARY_OUTPUT_DIRECTORY: linkedDir(workDir),
    CMAKE_EXPORT_COMPILE_COMMANDS: "ON",
    POLYRAY_NODE_INCLUDE: `${prefix}/include/node`,
    POLYRAY_NODE_ADDON_API: at(JSON.parse(`"${napi}"`)),
    POLYRAY_SANITIZE: sanitize,
  };
  const generator = existsSync(ninja) ? ["-G", "Ninja"] : [];
  if (existsSync(ninja)) defines.CMAKE_MAKE_PROGRAM = ninja;
  return [
    "--log-level",
    "warn",
    "--cmake-path",
    cmake,
    "--out",
    workDir,
    ...generator,
    ...Object.entries(defines).map(([key, value]) => `--CD${key}=${value}`),
  ];
}
