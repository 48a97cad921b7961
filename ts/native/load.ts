// SPDX-License-Identifier: Apache-2.0
// Finds and loads polyray.node, once per environment, and makes its failures PolyrayErrors.
//
// Order: POLYRAY_NATIVE (a path), build/Release of this checkout, the platform package
// @polyray/<platform>-<arch>[-musl].
// The guardian executable lies beside the addon. The error of a failed load lists every place that
// was tried, and why it failed.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { errorOfNumber, errorRowOfNumber, makeError, type PolyrayError } from "../base/errors.ts";
import { packageRoot } from "../base/package-root.ts";
import type { NativeBinding } from "./binding.ts";

const require = createRequire(import.meta.url);

interface Loaded {
  readonly binding: NativeBinding;
  readonly path: string;
}

let loaded: Loaded | null = null;

/** The addon of this environment. Throws SystemError when it cannot be loaded. */
export function loadNative(): NativeBinding {
  loaded ??= load();
  return loaded.binding;
}

/** Path of the loaded polyray.node. */
export function nativePath(): string {
  loaded ??= load();
  return loaded.path;
}

/** Path of the guardian executable: POLYRAY_GUARDIAN, or beside the addon. */
export function guardianPath(): string {
  return process.env["POLYRAY_GUARDIAN"] ?? join(dirname(nativePath()), "polyray-guardian");
}

/** The package that carries the binaries for this machine. */
export function platformPackage(): string {
  return `@polyray/${process.platform}-${process.arch}${isMusl() ? "-musl" : ""}`;
}

function isMusl(): boolean {
  if (process.platform !== "linux") return false;
  const report = process.report?.getReport() as
    | { header?: { glibcVersionRuntime?: string } }
    | undefined;
  return report?.header !== undefined && report.header.glibcVersionRuntime === undefined;
}

function load(): Loaded {
  const named = process.env["POLYRAY_NATIVE"];
  const tried: string[] = [];
  const attempt = (path: string, missing: string | null): Loaded | null => {
    if (missing !== null) {
      tried.push(`${path}: ${missing}`);
      return null;
    }
    try {
      const binding = require(path) as NativeBinding;
      binding.setErrorFactory(makeNativeError);
      return { binding, path: require.resolve(path) };
    } catch (error) {
      tried.push(`${path}: ${(error as Error).message.split("\n")[0] ?? ""}`);
      return null;
    }
  };
  const absent = (path: string) => (existsSync(path) ? null : "no such file");
  if (named !== undefined && named !== "") {
    const found = attempt(named, absent(named));
    if (found !== null) return found;
  } else {
    const built = join(packageRoot, "build", "Release", "polyray.node");
    const found =
      attempt(built, absent(built)) ?? attempt(`${platformPackage()}/polyray.node`, null);
    if (found !== null) return found;
  }
  throw makeError(
    "SYSTEM",
    `polyray.node could not be loaded (${tried.join("; ")}). Install ${platformPackage()}, run "npm run build" in a checkout, or name a file by POLYRAY_NATIVE; init({ mode: "inline" }) needs none`,
  );
}

/** The error of a native status. */
function makeNativeError(code: number, message: string, errno: number): PolyrayError {
  const row = errorRowOfNumber(code);
  const tagged = message.startsWith("[") || row === null ? message : `[${row.tag}] ${message}`;
  const error = errorOfNumber(code, tagged);
  if (errno !== 0) Object.defineProperty(error, "errno", { value: errno, enumerable: true });
  return error;
}
