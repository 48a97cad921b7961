// SPDX-License-Identifier: Apache-2.0
// npm environments: node_modules of a package.json (with its lock file) or of a list of packages, one folder per content
// hash, installed without running anybody's install scripts. Tasks find the packages by the worker's resolver.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { RuntimeEnvSetupError } from "../../base/errors.ts";
import type { EnvironmentCache } from "./cache.ts";
import type { Commands } from "./commands.ts";
import type { NodeSpec } from "./spec.ts";

interface Tools {
  readonly cache: EnvironmentCache;
  readonly commands: Commands;
  readonly say: (line: string) => void;
}

interface Wanted {
  readonly manifest: string;
  readonly lockfile: string | null;
  /** Folder that `file:` versions are relative to. */
  readonly from: string;
}

/** The folder that holds node_modules, made when it is not there yet; null when nothing is wanted. */
export async function nodeEnvironment(
  spec: NodeSpec,
  cwd: string,
  timeoutMs: number,
  tools: Tools,
): Promise<string | null> {
  const wanted = read(spec, cwd);
  if (wanted === null) return null;
  const { manifest, lockfile, from } = wanted;
  const lock = lockfile === null ? "" : readFileSync(lockfile, "utf8");
  const local = /"(file|link):/.test(manifest) ? from : "";
  const hash = createHash("sha256")
    .update(JSON.stringify([manifest, lock, local, process.version, process.arch]))
    .digest("hex")
    .slice(0, 16);
  const names = Object.keys((JSON.parse(manifest) as { dependencies?: object }).dependencies ?? {});
  const started = Date.now();
  let made = false;
  const folder = await tools.cache.folder(`npm-${hash}`, async (at) => {
    made = true;
    tools.say(`runtime env: installing ${names.join(", ") || "packages"} with npm ...`);
    writeFileSync(join(at, "package.json"), absolute(manifest, from));
    if (lockfile !== null) writeFileSync(join(at, "package-lock.json"), absolute(lock, from));
    const verb = lockfile === null ? "install" : "ci";
    const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--install-links"];
    await tools.commands.run({
      step: `npm ${verb}`,
      argv: ["npm", verb, ...quiet],
      cwd: at,
      env: { npm_config_fetch_retries: process.env.npm_config_fetch_retries ?? "1" },
      timeoutMs,
    });
  });
  if (made)
    tools.say(`runtime env: npm packages ready (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  return folder;
}

function read(spec: NodeSpec, cwd: string): Wanted | null {
  if (spec.packages !== undefined)
    return { manifest: manifestOf(spec.packages), lockfile: null, from: cwd };
  if (spec.packageJson === undefined) return null;
  const path = resolve(cwd, spec.packageJson);
  if (!existsSync(path)) throw wrong(`node.packageJson: ${path} does not exist`);
  const manifest = readFileSync(path, "utf8");
  try {
    JSON.parse(manifest);
  } catch (error) {
    throw wrong(`node.packageJson: ${path} is not JSON: ${(error as Error).message}`);
  }
  const beside = join(dirname(path), "package-lock.json");
  const lockfile =
    spec.lockfile !== undefined ? resolve(cwd, spec.lockfile) : existsSync(beside) ? beside : null;
  if (lockfile !== null && !existsSync(lockfile))
    throw wrong(`node.lockfile: ${lockfile} does not exist`);
  return { manifest, lockfile, from: dirname(path) };
}

function manifestOf(packages: Readonly<Record<string, string>>): string {
  const sorted = Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify({
    name: "polyray-environment",
    version: "1.0.0",
    private: true,
    dependencies: Object.fromEntries(sorted),
  });
}

// The manifest is copied into the cache: paths in it must not be relative any more.
function absolute(manifest: string, from: string): string {
  return manifest.replace(
    /"(file|link):([^"]+)"/g,
    (_all, kind: string, path: string) => `"${kind}:${resolve(from, path)}"`,
  );
}

function wrong(why: string): RuntimeEnvSetupError {
  return new RuntimeEnvSetupError(`[runtime env] Failed to set up runtime environment: ${why}.`);
}
