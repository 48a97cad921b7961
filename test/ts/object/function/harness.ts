// SPDX-License-Identifier: Apache-2.0
/**
 * Ships functions between two real processes: a driver script describes, another process revives
 * and calls. Owns a temporary project folder with the module under test bundled into it, so that
 * plain `node` can run it.
 */

import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { buildSync } from "esbuild";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../../", import.meta.url));
const watchdogMs = 60_000;

/** How a script is started. */
export type Mode = "node" | "import-tsx" | "tsx";

export interface Outcome {
  readonly name: string;
  readonly kind?: string;
  readonly result?: unknown;
  readonly error?: string;
  readonly stack?: string;
  readonly describeError?: string;
}

export interface Project {
  readonly folder: string;
  /** Runs the driver, then revives and calls what it shipped in a second process. */
  ship(mode: Mode, main: string, nodeArgs?: string[]): Promise<Map<string, Outcome>>;
  run(mode: Mode, main: string, nodeArgs?: string[], args?: string[]): Promise<string>;
  remove(): void;
}

/** A copy of the fixtures, with the bundles, the driver's `ship` and the worker beside them. */
export function makeProject(): Project {
  const folder = mkdtempSync(join(tmpdir(), "polyray-fn-"));
  const entry = join(root, "ts/object/function/index.ts");
  for (const format of ["esm", "cjs"] as const) {
    const outfile = join(folder, format === "esm" ? "polyray-fn.mjs" : "polyray-fn.cjs");
    buildSync({
      entryPoints: [entry],
      outfile,
      bundle: true,
      platform: "node",
      format,
      target: "node20",
    });
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url));
  cpSync(fixtures, folder, { recursive: true });
  for (const kind of ["esm", "cjs"]) {
    for (const file of ["lib.ts", "main.ts"])
      cpSync(join(fixtures, file), join(folder, kind, file));
  }
  writeFileSync(join(folder, "driver.mjs"), driverText("esm"));
  writeFileSync(join(folder, "driver.cjs"), driverText("cjs"));
  writeFileSync(join(folder, "worker.mjs"), workerText);
  const start = async (mode: Mode, main: string, nodeArgs: string[] = [], args: string[] = []) => {
    const tsx = join(root, "node_modules/tsx/dist/cli.mjs");
    const argv = {
      node: [...nodeArgs, main],
      "import-tsx": ["--import", "tsx", ...nodeArgs, main],
      tsx: [tsx, ...nodeArgs, main],
    }[mode];
    const env = { ...process.env };
    // The variables of the test runner are not the program's.
    for (const name of ["NODE_OPTIONS", "NODE_V8_COVERAGE", "NODE_TEST_CONTEXT"]) delete env[name];
    const options = { cwd: folder, timeout: watchdogMs, env, maxBuffer: 1 << 26 };
    try {
      const { stdout, stderr } = await run(process.execPath, [...argv, ...args], options);
      if (stderr.includes("Warning")) throw new Error(stderr);
      return stdout;
    } catch (error) {
      const {
        stdout = "",
        stderr = "",
        message,
      } = error as { stdout?: string; stderr?: string; message: string };
      throw new Error(`${message}\n${stdout}\n${stderr}`);
    }
  };
  const ship = async (mode: Mode, main: string, nodeArgs: string[] = []) => {
    const outcomes: Outcome[] = JSON.parse(
      (await start(mode, main, nodeArgs)).trim().split("\n").at(-1) ?? "",
    );
    return new Map(outcomes.map((outcome) => [outcome.name, outcome]));
  };
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  return { folder, ship, run: start, remove };
}

/** `ship({ name: [fn, ...args] })`: describes, sends to a worker process, prints the outcomes. */
function driverText(format: "esm" | "cjs"): string {
  const imports =
    format === "esm"
      ? `import { spawnSync } from "node:child_process"; import v8 from "node:v8"; import path from "node:path";
import { describeFunction, toWire, workerExecArgv, workerEnvironment } from "./polyray-fn.mjs";
const here = path.dirname(new URL(import.meta.url).pathname);`
      : `const { spawnSync } = require("node:child_process"); const v8 = require("node:v8"); const path = require("node:path");
const { describeFunction, toWire, workerExecArgv, workerEnvironment } = require("./polyray-fn.cjs");
const here = __dirname;`;
  return `${imports}
${format === "esm" ? "export " : ""}function ship(table) {
  const sent = [], outcomes = [];
  for (const [name, [fn, ...args]] of Object.entries(table)) {
    try {
      const descriptor = describeFunction(fn);
      sent.push({ name, args, kind: descriptor.kind, ...toWire(descriptor) });
    } catch (error) {
      outcomes.push({ name, describeError: error.name + ": " + error.message });
    }
  }
  const argv = [...workerExecArgv(process.execArgv), path.join(here, "worker.mjs")];
  const child = spawnSync(process.execPath, argv, { input: v8.serialize(sent), env: workerEnvironment(process.env), maxBuffer: 1 << 26 });
  if (child.status !== 0 || child.stderr.length > 0) throw new Error("worker: " + child.stdout + child.stderr);
  console.log(JSON.stringify([...outcomes, ...JSON.parse(child.stdout.toString())]));
}
${format === "cjs" ? "module.exports = { ship };" : ""}
`;
}

const workerText = `import v8 from "node:v8"; import { readFileSync } from "node:fs";
import { fromWire, reviveFunction, toWire, describeFunction } from "./polyray-fn.mjs";
const outcomes = [];
for (const { name, args, kind, json, values } of v8.deserialize(readFileSync(0))) {
  const outcome = { name, kind };
  outcomes.push(outcome);
  try {
    let fn = await reviveFunction(fromWire(json, values));
    if (args[0] === "again") {
      args.shift();
      const wire = toWire(describeFunction(fn));
      fn = await reviveFunction(fromWire(wire.json, v8.deserialize(v8.serialize(wire.values))));
    }
    outcome.result = await (args[0] === "new" ? new fn(...args.slice(1)).run() : fn(...args));
  } catch (error) {
    outcome.error = String(error && error.message);
    outcome.stack = String(error && error.stack);
  }
}
process.stdout.write(JSON.stringify(outcomes, (_key, item) => (typeof item === "bigint" ? item + "n" : item)));
`;
