// SPDX-License-Identifier: Apache-2.0
// What the API's tests share: one small runtime per test file, and helpers for errors.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { init, type Runtime, shutdown } from "polyray";
import t from "tap";

export { jsonLogLines, rejection, thrown, withoutPackage } from "../mixed/support.ts";

/** Starts a runtime for this file's tests and ends it after them. */
export async function startRuntime(options: Parameters<typeof init>[0] = {}): Promise<Runtime> {
  const runtime = await init({
    numCpus: 4,
    objectStoreMemory: "128MiB",
    logToDriver: false,
    ...(process.env.POLYRAY_TEST_MODE === "inline" ? { mode: "inline" as const } : {}),
    ...options,
  });
  t.teardown(() => shutdown());
  return runtime;
}

/** Waits until `check` is true; the test's own time limit is the watchdog. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 20));
}

const fixture = fileURLToPath(new URL("./fixtures/driver.ts", import.meta.url));

/** Runs the driver fixture; resolves with what it printed and how it ended. */
export function driver(
  ...args: string[]
): Promise<{ out: string; code: number | null; signal: string | null }> {
  const child = spawn(process.execPath, ["--import", "tsx", fixture, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (data: Buffer) => {
    out += String(data);
    if (args[0] === "killed" && out.includes("ready")) child.kill("SIGKILL");
  });
  return new Promise((resolve) =>
    child.on("close", (code, signal) => resolve({ out, code, signal })),
  );
}
