// SPDX-License-Identifier: Apache-2.0
// Working folders and Python modules: copied by content into the session's packages folder, named by a hash of it.
//
// A package is a URI `gcs://_ray_pkg_<hash>.zip` (Ray's form, so that programs may print and pass it on) that stands for
// `<session>/runtime_resources/{working_dir,py_modules}_files/_ray_pkg_<hash>/`. Equal content is copied once. A package appears whole or not at all (rename).
// What .gitignore, .rayignore and `excludes` name is left out. The session's folder goes, and the packages with it.

import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { constants, type Dirent, existsSync, mkdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { RuntimeEnvSetupError } from "../../base/errors.ts";
import { IgnoreRules } from "./ignore.ts";
import { extractZip } from "./zip.ts";

/** Larger folders are refused: a working folder is code, not data. */
export const maxPackageBytes = 512 * 1024 * 1024;
const defaultExcludes = [".git", ".venv", "venv", "__pycache__"];
const kinds = { folder: "working_dir_files", module: "py_modules_files" } as const;
const uriForm = /^gcs:\/\/(_ray_pkg_[0-9a-f]+)\.zip$/;

interface Found {
  readonly path: string;
  readonly from: string;
  readonly bytes: number;
  readonly executable: boolean;
}

export interface PackOptions {
  readonly excludes: readonly string[];
  /** The folder's own name is part of the package (Python modules); else its content is at the top. */
  readonly keepName: boolean;
}

export class Packages {
  readonly #root: string;

  constructor(sessionDir: string) {
    this.#root = join(sessionDir, "runtime_resources");
  }

  /** The folder of a package URI; throws when the session has none of that name. */
  folderOf(uri: string): string {
    const name = uriForm.exec(uri)?.[1];
    for (const kind of name === undefined ? [] : [kinds.folder, kinds.module]) {
      const folder = join(this.#root, kind, name as string);
      if (existsSync(folder)) return folder;
    }
    throw failed(`package ${uri}`, "this session has no such package");
  }

  /** Copies what `path` names (a folder, a .zip, .whl, .tar.gz or .py file); gives its URI. */
  async add(path: string, options: PackOptions): Promise<string> {
    let from: string;
    try {
      from = await realpath(resolve(path));
    } catch {
      throw failed(`package ${path}`, "it does not exist");
    }
    const isFolder = (await stat(from)).isDirectory();
    return isFolder ? this.#addFolder(from, options) : this.#addFile(from, options);
  }

  async #addFolder(from: string, options: PackOptions): Promise<string> {
    const files = await filesBelow(from, options.excludes);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    if (bytes > maxPackageBytes) {
      const largest = [...files].sort((a, b) => b.bytes - a.bytes).slice(0, 3);
      throw failed(
        `package ${from}`,
        `its size is ${mebibytes(bytes)} MiB, more than ${mebibytes(maxPackageBytes)} MiB. Leave large files out by "excludes" or a .gitignore (largest: ${largest.map((f) => `${f.path} ${mebibytes(f.bytes)} MiB`).join(", ")})`,
      );
    }
    const hash = createHash("sha256").update(options.keepName ? `m ${basename(from)}` : "w");
    for (const file of files) {
      hash.update(`\0${file.path}\0${file.bytes}\0${file.executable ? "x" : "-"}\0`);
      hash.update(await readFile(file.from));
    }
    return this.#make(hash.digest("hex"), options, async (folder) => {
      const top = options.keepName ? join(folder, basename(from)) : folder;
      for (const file of files) {
        const target = join(top, file.path);
        await mkdir(dirname(target), { recursive: true });
        await copyFile(file.from, target, constants.COPYFILE_FICLONE);
      }
    });
  }

  async #addFile(from: string, options: PackOptions): Promise<string> {
    const bytes = readFileSync(from);
    const hash = createHash("sha256").update("f").update(basename(from)).update(bytes);
    return this.#make(hash.digest("hex"), options, async (folder) => {
      if (/\.(zip|whl)$/.test(from)) {
        try {
          extractZip(from, folder);
        } catch (error) {
          throw failed(`package ${from}`, (error as Error).message);
        }
      } else if (/\.(tar\.gz|tgz|tar\.xz|tar)$/.test(from)) {
        await promisify(execFile)("tar", ["-xf", from, "-C", folder]);
      } else await copyFile(from, join(folder, basename(from)));
    });
  }

  async #make(
    hash: string,
    { keepName }: PackOptions,
    fill: (folder: string) => Promise<void>,
  ): Promise<string> {
    const name = `_ray_pkg_${hash.slice(0, 16)}`;
    const folder = join(this.#root, keepName ? kinds.module : kinds.folder, name);
    if (!existsSync(folder)) {
      const half = `${folder}.${randomBytes(4).toString("hex")}`;
      mkdirSync(half, { recursive: true, mode: 0o700 });
      try {
        await fill(half);
        await rename(half, folder);
      } catch (error) {
        await rm(half, { recursive: true, force: true });
        if (!existsSync(folder)) throw error; // somebody else was faster
      }
    }
    return `gcs://${name}.zip`;
  }
}

async function filesBelow(top: string, excludes: readonly string[]): Promise<Found[]> {
  const found: Found[] = [];
  const visited = new Set<string>();
  const own = new IgnoreRules([...defaultExcludes, ...excludes]);
  const walk = async (folder: string, below: string, rules: readonly Scoped[]): Promise<void> => {
    const real = await realpath(folder);
    if (visited.has(real)) return; // a link back up
    visited.add(real);
    const entries = await readdir(folder, { withFileTypes: true });
    const inner = [...rules, ...(await ignoreFiles(folder, below, entries))];
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      const from = join(folder, entry.name);
      const info = await stat(from).catch(() => null);
      if (info === null || ignored(path, info.isDirectory(), inner)) continue;
      if (info.isDirectory()) await walk(from, path, inner);
      else if (info.isFile())
        found.push({ path, from, bytes: info.size, executable: (info.mode & 0o100) !== 0 });
    }
  };
  await walk(top, "", [{ below: "", rules: own }]);
  return found;
}

interface Scoped {
  readonly below: string;
  readonly rules: IgnoreRules;
}

function ignored(path: string, isFolder: boolean, all: readonly Scoped[]): boolean {
  let outcome = false;
  for (const { below, rules } of all) {
    const inside = below === "" ? path : path.slice(below.length + 1);
    outcome = rules.judge(inside, isFolder) ?? outcome;
  }
  return outcome;
}

async function ignoreFiles(
  folder: string,
  below: string,
  entries: readonly Dirent[],
): Promise<Scoped[]> {
  const found: Scoped[] = [];
  for (const name of [".gitignore", ".rayignore"]) {
    if (!entries.some((entry) => entry.name === name)) continue;
    const lines = (await readFile(join(folder, name), "utf8")).split("\n");
    found.push({ below, rules: new IgnoreRules(lines) });
  }
  return found;
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(2);
}

function failed(step: string, why: string): RuntimeEnvSetupError {
  return new RuntimeEnvSetupError(`[runtime env] ${step} could not be made: ${why}.`);
}
