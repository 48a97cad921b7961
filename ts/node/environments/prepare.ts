// SPDX-License-Identifier: Apache-2.0
// Makes what a runtime environment asks for, once per environment: packages, virtual environments, npm folders.
//
// pack() turns the local paths of a job's environment into packages and can begin the installation; prepare() gives what
// a worker is started with. Equal environments are prepared once a session; a failure is remembered for some seconds,
// so that a burst of calls is told at once and a mended network is tried again. Errors are RuntimeEnvSetupError.

import { existsSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { RuntimeEnvSetupError } from "../../base/errors.ts";
import { findPython } from "../python.ts";
import { EnvironmentCache } from "./cache.ts";
import { Commands } from "./commands.ts";
import { nodeEnvironment } from "./node-env.ts";
import { Packages } from "./packages.ts";
import { pythonEnvironment } from "./python-env.ts";
import { type EnvironmentSpec, nothingPrepared, type Prepared } from "./spec.ts";

/** The part of a worker key that decides its environment. */
export interface EnvironmentKey {
  readonly language: "ts" | "py";
  readonly cwd: string;
  readonly python: string;
  readonly job?: number;
  readonly runtimeEnv?: EnvironmentSpec;
}

export interface EnvironmentsOptions {
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly cacheRoot: string;
  /** Progress for the terminal of a job. */
  readonly notice: (job: number, line: string) => void;
}

const failureKeptMs = 5000;
const defaultTimeoutS = 600;

export class Environments {
  readonly #packages: Packages;
  readonly #cache: EnvironmentCache;
  readonly #commands: Commands;
  readonly #notice: EnvironmentsOptions["notice"];
  readonly #prepared = new Map<string, Promise<Prepared>>();

  constructor(options: EnvironmentsOptions) {
    this.#packages = new Packages(options.sessionDir);
    this.#cache = new EnvironmentCache(options.cacheRoot);
    this.#commands = new Commands(options.sessionId);
    this.#notice = options.notice;
  }

  /** Replaces local paths by packages of this session. */
  async pack(spec: EnvironmentSpec, cwd: string): Promise<EnvironmentSpec> {
    const { working_dir: folder, py_modules: modules, excludes = [], ...rest } = spec;
    const packed: Record<string, unknown> = { ...rest };
    if (folder !== undefined) packed.working_dir = await this.#pack(folder, cwd, excludes, false);
    if (modules !== undefined) {
      const all: string[] = [];
      for (const one of modules) all.push(await this.#pack(one, cwd, excludes, true));
      packed.py_modules = all;
    }
    return packed as EnvironmentSpec;
  }

  async #pack(
    path: string,
    cwd: string,
    excludes: readonly string[],
    keepName: boolean,
  ): Promise<string> {
    if (/^gcs:\/\//.test(path)) return path;
    if (/^(local|file):\/\//.test(path)) {
      const local = path.replace(/^(local|file):\/\//, "");
      if (/^local/.test(path)) return path;
      return this.#packages.add(local, { excludes, keepName });
    }
    if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path))
      throw unsupported(`the package ${path}`, "remote packages are not fetched: use a local path");
    return this.#packages.add(resolve(cwd, path), { excludes, keepName });
  }

  /** What a worker of this key starts with. */
  prepare(key: EnvironmentKey): Promise<Prepared> {
    const spec = key.runtimeEnv;
    if (spec === undefined) return Promise.resolve(nothingPrepared);
    const name = JSON.stringify([key.language, key.cwd, key.python, spec]);
    let found = this.#prepared.get(name);
    if (found === undefined) {
      found = this.#make(key, spec);
      this.#prepared.set(name, found);
      found.catch(() => {
        setTimeout(() => this.#prepared.delete(name), failureKeptMs).unref();
      });
    }
    return found;
  }

  stop(): void {
    this.#commands.stop();
  }

  async #make(key: EnvironmentKey, given: EnvironmentSpec): Promise<Prepared> {
    refuse(given);
    const spec = await this.pack(given, key.cwd);
    const folder = spec.working_dir === undefined ? null : this.#folderOf(spec.working_dir);
    const cwd = folder ?? key.cwd;
    const modules = (spec.py_modules ?? []).map((uri) => this.#folderOf(uri));
    const sysPath = [...modules, ...(folder === null ? [] : [folder])];
    const node = spec.node ?? {};
    const seconds = spec.config?.setup_timeout_seconds ?? defaultTimeoutS;
    const timeoutMs = seconds < 0 ? Number.POSITIVE_INFINITY : seconds * 1000;
    const tools = {
      cache: this.#cache,
      commands: this.#commands,
      say: (line: string) => this.#notice(key.job ?? 0, line),
    };
    if (key.language === "ts") {
      const nodeModules = await nodeEnvironment(node, cwd, timeoutMs, tools);
      return { cwd: folder, sysPath, python: null, nodeModules, node };
    }
    const command = pythonCommand(spec, key);
    let python: readonly string[] | null = command;
    for (const tool of ["pip", "uv"] as const) {
      const wanted = spec[tool];
      if (wanted === undefined) continue;
      const basePython = command?.[0] ?? (key.python || findPython(key.cwd));
      python = [await pythonEnvironment({ tool, wanted, basePython, cwd, timeoutMs }, tools)];
    }
    return { cwd: folder, sysPath, python, nodeModules: null, node };
  }

  #folderOf(uri: string): string {
    if (!uri.startsWith("local://")) return this.#packages.folderOf(uri);
    const path = uri.slice("local://".length);
    if (existsSync(path) && statSync(path).isDirectory()) return path;
    throw unsupported(uri, "there is no such folder on this node");
  }
}

function pythonCommand(spec: EnvironmentSpec, key: EnvironmentKey): readonly string[] | null {
  if (typeof spec.conda === "string" && isAbsolute(spec.conda)) {
    const python = join(spec.conda, "bin", "python");
    if (existsSync(python)) return [python];
    throw unsupported(`conda environment ${spec.conda}`, `${python} does not exist`);
  }
  if (spec.conda !== undefined) {
    throw unsupported(
      "conda",
      "only the folder of an existing conda environment can be named; otherwise use pip, uv or py_executable",
    );
  }
  if (spec.py_executable === undefined) return null;
  const words = spec.py_executable.trim().split(/\s+/);
  const program = words[0] ?? "";
  if (program.includes("/") && !existsSync(resolve(key.cwd, program)))
    throw unsupported(`py_executable ${spec.py_executable}`, "it does not exist");
  return words;
}

const containers = ["container", "image_uri", "_nsight", "_rocprof_sys"];

function refuse(spec: EnvironmentSpec): void {
  for (const field of containers) {
    if (spec[field] !== undefined)
      throw unsupported(
        field.replace(/^_/, ""),
        "workers start as plain processes of this machine; leave it out",
      );
  }
}

function unsupported(what: string, why: string): RuntimeEnvSetupError {
  return new RuntimeEnvSetupError(
    `[runtime env] Failed to set up runtime environment: ${what} is not supported here: ${why}.`,
  );
}
