// SPDX-License-Identifier: Apache-2.0
//
// Keeps node_modules in line with package-lock.json. A missing folder is `npm ci`; a stale one
// is brought up to date in place, so that programs that run from it keep running.

import { existsSync, readFileSync } from "node:fs";
import { must } from "./exec.mjs";
import { step } from "./log.mjs";
import { at, root } from "./paths.mjs";

/** True when every package of the lock file that fits this machine is installed as locked. */
export function nodeModulesFresh() {
  const installedPath = at("node_modules", ".package-lock.json");
  if (!existsSync(installedPath)) return false;
  const locked = JSON.parse(readFileSync(at("package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedPath, "utf8")).packages;
  return Object.entries(locked).every(([path, entry]) => {
    if (path === "" || entry.optional || entry.devOptional || entry.peer) return true;
    return installed[path]?.version === entry.version;
  });
}

export async function ensureNodeModules() {
  if (nodeModulesFresh()) return;
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  if (existsSync(at("node_modules"))) {
    step("npm install (node_modules is stale)");
    await must("npm", ["install", "--no-save", ...quiet], { cwd: root });
  } else {
    step("npm ci");
    await must("npm", ["ci", ...quiet], { cwd: root });
  }
}
