// SPDX-License-Identifier: Apache-2.0
//
// Running other programs: inherited output or captured, a watchdog, and the whole process
// group ended when the watchdog fires.

import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { SetupError } from "./log.mjs";
import { root, venvBin } from "./paths.mjs";

/** The environment of child programs: our tools first on the path, no settings of npm's caller. */
export function childEnv(extra = {}) {
  const env = { ...process.env, ...extra };
  for (const name of Object.keys(env)) {
    if (/^npm_config_(nodedir|jobs|build_from_source|runtime|target|disturl)$/i.test(name)) {
      delete env[name];
    }
  }
  env.PATH = [venvBin, join(root, "node_modules", ".bin"), env.PATH].join(delimiter);
  return env;
}

/** Output of a program, or null when it is missing or fails. */
export function capture(command, args = [], options = {}) {
  try {
    const stdio = ["ignore", "pipe", "ignore"];
    return execFileSync(command, args, { encoding: "utf8", stdio, ...options }).trim();
  } catch {
    return null;
  }
}

/** First match of a program on the path, or null. */
export function which(name, path = process.env.PATH ?? "") {
  for (const folder of path.split(delimiter)) {
    if (folder !== "" && existsSync(join(folder, name))) return join(folder, name);
  }
  return null;
}

/**
 * Runs a program to its end and resolves with its exit code; 124 when the watchdog ended it.
 * `onLine` receives each line of output (then nothing is inherited).
 */
export function run(command, args, options = {}) {
  const { cwd = root, env = childEnv(), timeoutS = 3600, onLine, onStdout } = options;
  const piped = onLine !== undefined || onStdout !== undefined;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env,
      detached: true,
      stdio: ["ignore", piped ? "pipe" : "inherit", piped ? "pipe" : "inherit"],
    });
    let timedOut = false;
    const endGroup = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // The group is gone already.
      }
    };
    const watchdog = setTimeout(() => {
      timedOut = true;
      endGroup("SIGTERM");
      setTimeout(() => endGroup("SIGKILL"), 5000).unref();
    }, timeoutS * 1000);
    const relay = (signal) => endGroup(signal);
    process.once("SIGINT", relay).once("SIGTERM", relay);
    if (piped) {
      eachLine(child.stdout, onStdout ?? onLine);
      eachLine(child.stderr, onLine ?? ((line) => process.stderr.write(`${line}\n`)));
    }
    child.on("error", (error) => {
      clearTimeout(watchdog);
      reject(new SetupError(`cannot run ${command}: ${error.message}`));
    });
    child.on("close", (code, signal) => {
      clearTimeout(watchdog);
      process.off("SIGINT", relay).off("SIGTERM", relay);
      if (timedOut) endGroup("SIGKILL");
      resolve(timedOut ? 124 : (code ?? 128 + (signal === "SIGINT" ? 2 : 15)));
    });
  });
}

/** As run, but a non-zero code is an error. */
export async function must(command, args, options = {}) {
  const code = await run(command, args, options);
  if (code !== 0) {
    const shown = [command, ...args].join(" ").replaceAll(`${root}/`, "");
    throw new SetupError(`${shown} ended with code ${code}`, options.hint);
  }
}

function eachLine(stream, take) {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) take(line);
  });
  stream.on("end", () => {
    if (rest !== "") take(rest);
  });
}
