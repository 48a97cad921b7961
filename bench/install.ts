// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark needs besides the product: its TypeScript rows compiled (build/bench-js), Ray
// in a virtual environment of its own, and the Node pools in a folder of their own (build/bench).
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
  /** Ray's sessions: removed at the end of the run. Short, since sockets lie in it. */
  raySessions: join(tmpdir(), `polyray-bench-${process.pid}`),
} as const;

const rayPackages = ["ray==2.60.0", "numpy>=2.2,<3", "pyarrow>=18"];
const nodePackages = ["piscina@5.3.2", "tinypool@2.2.0"];

/** Installs what these contestants need. Throws when a command fails; its output is shown. */
export function install(contestants: readonly Contestant[]): void {
  mkdirSync(places.work, { recursive: true });
  say("compiling the rows");
  run(process.execPath, [
    join(root, "node_modules", "typescript", "bin", "tsc"),
    "-p",
    "bench/tsconfig.json",
  ]);
  if (contestants.includes("ray")) {
    once("ray", rayPackages, places.rayPython, installRay);
    mkdirSync(places.raySessions, { recursive: true });
    process.once("exit", () => rmSync(places.raySessions, { recursive: true, force: true }));
  }
  if (contestants.includes("piscina") || contestants.includes("tinypool")) {
    once("node", nodePackages, join(places.work, "node_modules", "piscina"), installNodePools);
  }
}

function installRay(): void {
  const venv = join(places.work, "ray-venv");
  run(existsSync(places.python) ? places.python : "python3", ["-m", "venv", "--clear", venv]);
  run(places.rayPython, [
    "-m",
    "pip",
    "--disable-pip-version-check",
    "install",
    "-q",
    ...rayPackages,
  ]);
}

function installNodePools(): void {
  const manifest = { name: "polyray-bench-peers", private: true };
  writeFileSync(join(places.work, "package.json"), `${JSON.stringify(manifest)}\n`);
  const flags = ["--no-audit", "--no-fund", "--save-exact", "--loglevel=error"];
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
