// SPDX-License-Identifier: Apache-2.0
// Environments that outlive a session: one folder per content hash below the user's session folder, made once.
//
// Several runtimes may want the same one at the same moment: a lock file with the maker's pid decides, the others wait.
// An environment counts when its ready mark is there; a half-made one of a dead maker is made anew. The folders that were
// used longest ago are removed when all together are larger than POLYRAY_ENVIRONMENTS_GB (default 10).

import { randomBytes } from "node:crypto";
import { existsSync, linkSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

const ready = ".polyray-ready";
const lockPollMs = 50;

export class EnvironmentCache {
  readonly #root: string;
  readonly #maxBytes: number;
  readonly #inUse = new Set<string>();

  constructor(root: string, maxBytes: number = limitBytes()) {
    this.#root = root;
    this.#maxBytes = maxBytes;
  }

  /** The folder of an environment; `make` fills it when it is not there. */
  async folder(name: string, make: (folder: string) => Promise<void>): Promise<string> {
    const folder = join(this.#root, name);
    this.#inUse.add(name);
    if (touch(folder)) return folder;
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    const lock = `${folder}.lock`;
    await takeLock(lock);
    try {
      if (touch(folder)) return folder;
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { mode: 0o700 });
      try {
        await make(folder);
      } catch (error) {
        await rm(folder, { recursive: true, force: true });
        throw error;
      }
      await writeFile(join(folder, ready), JSON.stringify({ bytes: await sizeOf(folder) }));
    } finally {
      rmSync(lock, { force: true });
    }
    await this.evict();
    return folder;
  }

  /** Removes what was used longest ago until the rest fits; what this runtime uses stays. */
  async evict(): Promise<void> {
    const known: { name: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(this.#root).catch(() => [])) {
      try {
        const mark = join(this.#root, name, ready);
        const { bytes } = JSON.parse(await readFile(mark, "utf8")) as { bytes: number };
        known.push({ name, bytes, usedMs: (await stat(mark)).mtimeMs });
      } catch {
        // a lock, or one that is being made
      }
    }
    let total = known.reduce((sum, one) => sum + one.bytes, 0);
    for (const one of known.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.#maxBytes) return;
      if (this.#inUse.has(one.name)) continue;
      rmSync(join(this.#root, one.name, ready), { force: true });
      await rm(join(this.#root, one.name), { recursive: true, force: true });
      total -= one.bytes;
    }
  }
}

function limitBytes(): number {
  const asked = Number(process.env.POLYRAY_ENVIRONMENTS_GB ?? "");
  return (asked > 0 ? asked : 10) * 1e9;
}

function touch(folder: string): boolean {
  const mark = join(folder, ready);
  if (!existsSync(mark)) return false;
  const now = new Date();
  utimesSync(mark, now, now);
  return true;
}

async function takeLock(lock: string): Promise<void> {
  const own = `${lock}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(own, String(process.pid), { mode: 0o600 });
  for (;;) {
    try {
      linkSync(own, lock); // appears with its content, or not at all
      rmSync(own, { force: true });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (!holderLives(lock)) rmSync(lock, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, lockPollMs));
  }
}

function holderLives(lock: string): boolean {
  try {
    process.kill(Number(readFileSync(lock, "utf8")), 0);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== "ESRCH" && code !== "ENOENT";
  }
}

async function sizeOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    bytes +=
      (await stat(join(entry.parentPath ?? entry.path, entry.name)).catch(() => null))?.size ?? 0;
  }
  return bytes;
}
