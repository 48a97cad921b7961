// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark needs besides the product: its TypeScript rows compiled (build/bench-js), Ray
// and Dask in virtual environments of their own, the Node pools and the plotting library in a folder of
// their own (build/bench).
// Made at first use; nothing of it belongs to `npm test`.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Contestant } from "./options.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Where the benchmark keeps what it makes. */
export const places = {
  root,
  js: join(root, "build", "bench-js"),
  work: join(root, "build", "bench"),
  python: join(root, ".venv", "bin", "python"),
  rayPython: join(root, "build", "bench", "ray-venv", "bin", "python"),
  daskPython: join(root, "build", "bench", "dask-venv", "bin", "python"),
  plots: join(root, "bench", "plots"),
  /** Ray's sessions: removed at the end of the run. Short, since sockets lie in it. */
  raySessions: join(tmpdir(), `polyray-bench-${process.pid}`),
} as const;

const rayPackages = ["ray==2.60.0", "numpy>=2.2,<3", "pyarrow>=18"];
const daskPackages = ["dask==2026.8.0", "distributed==2026.8.0", "numpy>=2.2,<3"];
const nodePackages = ["piscina@5.3.2", "tinypool@2.2.0", "vega@6.4.0", "vega-lite@6.4.3"];

/** Installs what these contestants (and plots) need. Throws when a command fails; its output is shown. */
export function install(contestants: readonly Contestant[], plots: boolean): void {
  mkdirSync(places.work, { recursive: true });
  say("compiling the rows");
  run(process.execPath, [
    join(root, "node_modules", "typescript", "bin", "tsc"),
    "-p",
    "bench/tsconfig.json",
  ]);
  if (contestants.includes("ray")) {
    once("ray", rayPackages, places.rayPython, () => installVenv("ray-venv", rayPackages));
    mkdirSync(places.raySessions, { recursive: true });
    process.once("exit", () => rmSync(places.raySessions, { recursive: true, force: true }));
  }
  if (contestants.includes("dask")) {
    once("dask", daskPackages, places.daskPython, () => installVenv("dask-venv", daskPackages));
  }
  if (plots || contestants.includes("piscina") || contestants.includes("tinypool")) {
    once("node", nodePackages, join(places.work, "node_modules", "piscina"), installNodePackages);
  }
}

function installVenv(name: string, packages: readonly string[]): void {
  const venv = join(places.work, name);
  run(existsSync(places.python) ? places.python : "python3", ["-m", "venv", "--clear", venv]);
  const pip = ["-m", "pip", "--disable-pip-version-check", "install", "-q"];
  run(join(venv, "bin", "python"), [...pip, ...packages]);
}

function installNodePackages(): void {
  const manifest = { name: "polyray-bench-peers", private: true };
  writeFileSync(join(places.work, "package.json"), `${JSON.stringify(manifest)}\n`);
  const flags = ["--no-audit", "--no-fund", "--save-exact", "--ignore-scripts", "--loglevel=error"];
  run("npm", ["install", ...flags, ...nodePackages], places.work);
}

/** Runs `make` unless the same packages were installed before. */
function once(name: string, packages: readonly string[], product: string, make: () => void): void {
  const stamp = join(places.work, `${name}.installed`);
  const wanted = `${packages.join("\n")}\n`;
  if (existsSync(product) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  say(`installing ${packages.join(", ")} into build/bench`);
  make();
  writeFileSync(stamp, wanted);
}

function run(command: string, args: readonly string[], cwd: string = root): void {
  execFileSync(command, args, { cwd, stdio: ["ignore", 2, 2] });
}

/** A line of progress; standard output belongs to the results. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
