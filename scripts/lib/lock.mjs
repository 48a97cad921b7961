// SPDX-License-Identifier: Apache-2.0
//
// One build at a time in a checkout: a lock file that names its holder's pid. A lock whose
// holder is dead is taken over.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { note } from "./log.mjs";
import { buildDir } from "./paths.mjs";

const path = join(buildDir, ".lock");

/** Runs body while this process holds the build lock; waits for another build to end. */
export async function withBuildLock(body) {
  mkdirSync(buildDir, { recursive: true });
  let told = false;
  while (!tryTake()) {
    const holder = holderPid();
    if (holder !== null && !isAlive(holder)) {
      rmSync(path, { force: true });
      continue;
    }
    if (!told) note(`waiting for the build of process ${holder ?? "?"}`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const release = () => {
    if (holderPid() === process.pid) rmSync(path, { force: true });
  };
  process.once("exit", release);
  try {
    return await body();
  } finally {
    process.off("exit", release);
    release();
  }
}

function tryTake() {
  try {
    writeFileSync(path, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function holderPid() {
  try {
    const pid = Number(readFileSync(path, "utf8"));
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
