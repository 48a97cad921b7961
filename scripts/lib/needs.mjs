// SPDX-License-Identifier: Apache-2.0
//
// What a machine must have before anything is installed: Node, Python with venv, a C++20
// compiler. CMake comes from the machine or, where it is missing or old, from PyPI into .venv.

import { existsSync } from "node:fs";
import { capture, which } from "./exec.mjs";
import { SetupError } from "./log.mjs";
import { venvBin } from "./paths.mjs";

const atLeast = (version, floor) => {
  const parts = version.split(".").map(Number);
  for (let i = 0; i < floor.length; i += 1) {
    if ((parts[i] ?? 0) !== floor[i]) return (parts[i] ?? 0) > floor[i];
  }
  return true;
};

/** Throws unless this Node is 20.19 or newer. */
export function needNode() {
  const found = process.versions.node;
  if (atLeast(found, [20, 19])) return;
  throw new SetupError(
    `Node ${found} is too old: 20.19 or newer is needed`,
    "Install a newer Node.",
  );
}

/** The Python that .venv is made with: POLYRAY_PYTHON, else python3 on the path. */
export function needPython() {
  const wanted = process.env.POLYRAY_PYTHON ?? "python3";
  const probe =
    "import sys, venv, ensurepip; print(sys.executable, '%d.%d' % sys.version_info[:2])";
  const answer = capture(wanted, ["-c", probe]);
  const hint =
    "Install Python 3.10 or newer with its venv module and headers " +
    "(Debian: python3 python3-venv python3-dev), or name one by POLYRAY_PYTHON.";
  if (answer === null)
    throw new SetupError(`no usable Python: '${wanted}' with venv did not run`, hint);
  const version = answer.split(" ").pop();
  if (!atLeast(version, [3, 10])) {
    throw new SetupError(`Python ${version} is too old: 3.10 or newer is needed`, hint);
  }
  const header =
    "import os, sysconfig; print(os.path.exists(sysconfig.get_paths()['include'] + '/Python.h'))";
  if (capture(wanted, ["-c", header]) !== "True") {
    throw new SetupError(`Python ${version} has no headers (Python.h)`, hint);
  }
  return wanted;
}

/** The C++ compiler: CXX, else c++ or g++ or clang++; it must know C++20. */
export function needCompiler() {
  const names = process.env.CXX ? [process.env.CXX] : ["c++", "g++", "clang++"];
  const found = names.find((name) => existsSync(name) || which(name) !== null);
  const hint =
    "Install GCC 11 or newer, or Clang 14 or newer (Debian: build-essential), or set CXX.";
  if (found === undefined)
    throw new SetupError(`no C++ compiler (looked for ${names.join(", ")})`, hint);
  const version = capture(found, ["-dumpfullversion", "-dumpversion"]) ?? "0";
  const isClang = (capture(found, ["--version"]) ?? "").includes("clang");
  if (!atLeast(version, isClang ? [14] : [11])) {
    throw new SetupError(`${found} ${version} is too old for C++20`, hint);
  }
  return found;
}

/** A cmake of 3.20 or newer: the machine's, else .venv's, else null (to be installed there). */
export function findCmake() {
  for (const candidate of [which("cmake"), `${venvBin}/cmake`]) {
    if (candidate === null || !existsSync(candidate)) continue;
    const version = /cmake version ([\d.]+)/.exec(capture(candidate, ["--version"]) ?? "")?.[1];
    if (version !== undefined && atLeast(version, [3, 20])) return candidate;
  }
  return null;
}

/** Throws unless GoogleTest's header and library are installed. */
export function needGoogleTest() {
  const roots = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"];
  if (process.env.GTEST_ROOT || roots.some((path) => existsSync(`${path}/gtest/gtest.h`))) return;
  throw new SetupError(
    "GoogleTest is missing: the native tests need it",
    "Install it (Debian: libgtest-dev), or set GTEST_ROOT to where it is.",
  );
}
