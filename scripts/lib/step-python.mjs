// SPDX-License-Identifier: Apache-2.0
//
// Installs the Python package into .venv. A change of native code, or of the package's build
// files, is a wheel built by scikit-build-core in build/python (kept, so incremental); a change
// of .py files alone is copied over, which takes no time. Beside the installed package lies
// _home.json, which tells it where this checkout is.

import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { capture, childEnv, must } from "./exec.mjs";
import { step } from "./log.mjs";
import { at, buildDir, distDir, releaseDir, root, venvBin, venvPython } from "./paths.mjs";
import { filesBelow, hashOf, isFresh, writeStamp } from "./stamp.mjs";
import { buildNative, nativeLayout } from "./step-native.mjs";
import { ensureCmake, ensureVenv } from "./step-venv.mjs";

const source = at("python-bridge", "src", "polyray");
const nativeInputs = () => [
  at("native"),
  at("python-bridge", "ext"),
  at("python-bridge", "pyproject.toml"),
  at("CMakeLists.txt"),
  at("cmake"),
  at("requirements", "build.txt"),
];

export async function buildPython({ force = false } = {}) {
  await ensureVenv(["build"]);
  await buildNative();
  const folder = installedFolder();
  const nativeHash = hashOf(nativeInputs(), [folder, process.env.CXX ?? ""]);
  const pureHash = hashOf([source], [folder]);
  const outputs = [join(folder, "__init__.py")];
  if (force || !isFresh("python-native", nativeHash, outputs)) {
    step("Python package");
    await installWheel();
    writeStamp("python-native", nativeHash);
  } else if (!isFresh("python-pure", pureHash, outputs)) {
    step("Python sources");
    copySources(folder);
    await must(venvPython, ["-m", "compileall", "-q", folder]); // as pip does
  }
  writeHome(folder);
  writeStamp("python-pure", pureHash);
}

function installedFolder() {
  return join(
    capture(venvPython, ["-c", "import sysconfig; print(sysconfig.get_paths()['platlib'])"]),
    "polyray",
  );
}

async function installWheel() {
  const { workDir } = nativeLayout();
  const cmake = await ensureCmake();
  const settings = {
    "build-dir": join(buildDir, "python"),
    "cmake.define.POLYRAY_CORE_ARCHIVE": join(workDir, "libpolyray_core.a"),
  };
  const env = childEnv({
    CMAKE_BUILD_PARALLEL_LEVEL: "2",
    CMAKE_EXECUTABLE: cmake,
    CMAKE_GENERATOR: "Ninja",
  });
  await must(
    venvPython,
    [
      "-m",
      "pip",
      "--disable-pip-version-check",
      "install",
      "-q",
      "--no-deps",
      "--no-build-isolation",
      "--no-index",
      "--force-reinstall",
      // The long form: the pip of Python 3.10 and of Debian 12 has no -C.
      ...Object.entries(settings).map(([key, value]) => `--config-settings=${key}=${value}`),
      at("python-bridge"),
    ],
    { env },
  );
}

// Mirrors the .py files: changed ones are copied, ones that are gone are removed.
function copySources(folder) {
  const accept = (path) =>
    !path.endsWith(".so") && !path.endsWith(".pyc") && !path.endsWith("_home.json");
  const wanted = new Set(filesBelow(source, accept).map((path) => relative(source, path)));
  for (const path of wanted) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const fresh = `${join(folder, path)}.${process.pid}`;
    copyFileSync(join(source, path), fresh);
    renameSync(fresh, join(folder, path));
  }
  for (const path of filesBelow(folder, accept)) {
    if (!wanted.has(relative(folder, path))) rmSync(path);
  }
}

// What a Python driver needs to start a runtime from this checkout.
function writeHome(folder) {
  const home = {
    root,
    node: process.execPath,
    dist: distDir,
    addon: join(releaseDir, "polyray.node"),
    guardian: join(releaseDir, "polyray-guardian"),
    python: venvPython,
    bin: venvBin,
  };
  const text = `${JSON.stringify(home, null, 2)}\n`;
  if (existsSync(folder)) writeFileSync(join(folder, "_home.json"), text);
  writeFileSync(join(buildDir, "home.json"), text);
}
