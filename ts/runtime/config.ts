// SPDX-License-Identifier: Apache-2.0
// What a node offers: resources found on the machine or given by the user, checked, as fixed-point amounts.
// Pure except for reading the machine's size. Errors are InvalidOptionError naming the option.

import { accessSync, constants, mkdirSync, statfsSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidOptionError, ObjectStoreFullError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type MemorySettings, memorySettings } from "../node/memory-monitor.ts";
import { type MachineSize, machineSize } from "./machine.ts";

/** Options of a node, as `init` and `polyray start` take them. */
export interface NodeOptions {
  readonly numCpus?: number | undefined;
  readonly numGpus?: number | undefined;
  /** Bytes of logical memory for tasks. Default: 70 % of the machine's. */
  readonly memory?: number | undefined;
  readonly resources?: Readonly<Record<string, number>> | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Bytes. Default: 30 % of memory. */
  readonly objectStoreMemory?: number | undefined;
  readonly plasmaDirectory?: string | undefined;
  /** Folders for what the store cannot hold, used in turn. Default: the session's own folder. */
  readonly objectSpillingDirectory?: string | readonly string[] | undefined;
  readonly namespace?: string | undefined;
  /** Where metrics are served on loopback; 0: any port. Default: nowhere. */
  readonly metricsPort?: number | undefined;
  /** Ray's system config: `memory_usage_threshold`, `memory_monitor_refresh_ms`; before the environment. */
  readonly systemConfig?: Readonly<Record<string, unknown>> | undefined;
}

export interface NodeConfig {
  readonly resources: Readonly<Record<string, number>>;
  readonly objectStoreBytes: number;
  readonly plasmaDirectory: string;
  /** One a line. */
  readonly spillFolders: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly memory: MemorySettings;
}

const minStoreBytes = 8 * 1024 * 1024;
const reserved = new Set(["CPU", "GPU", "memory", "object_store_memory"]);

function fixed(name: string, amount: unknown): number {
  if (typeof amount !== "number" || !Number.isFinite(amount) || amount < 0) {
    throw new InvalidOptionError(
      `[invalid option] ${name} must be a number >= 0, not ${String(amount)}.`,
    );
  }
  return Math.round(amount * limits.resourceUnit);
}

/** Checks the options and fills the defaults. */
export function nodeConfig(options: NodeOptions, machine: MachineSize = machineSize()): NodeConfig {
  const memory = machine.memoryBytes;
  const store = options.objectStoreMemory ?? Math.min(Math.floor(memory * 0.3), 200 * 1024 ** 3);
  if (!Number.isInteger(store) || store < minStoreBytes) {
    throw new InvalidOptionError(
      `[invalid option] objectStoreMemory must be a whole number of bytes >= ${minStoreBytes} (8 MiB), not ${String(options.objectStoreMemory)}.`,
    );
  }
  if (store > memory) {
    throw new InvalidOptionError(
      `[invalid option] objectStoreMemory is ${store} bytes, but this machine has ${memory} bytes of memory. Ask for less.`,
    );
  }
  const resources: Record<string, number> = {
    CPU: fixed("numCpus", options.numCpus ?? machine.cpus),
    memory: fixed("memory", options.memory ?? Math.floor(memory * 0.7)),
    object_store_memory: fixed("objectStoreMemory", store),
  };
  if (options.numGpus !== undefined && options.numGpus > 0)
    resources.GPU = fixed("numGpus", options.numGpus);
  for (const [name, amount] of Object.entries(options.resources ?? {})) {
    if (reserved.has(name)) {
      throw new InvalidOptionError(
        `[invalid option] resources.${name} is a built-in resource: use numCpus, numGpus, memory or objectStoreMemory.`,
      );
    }
    if (name === "" || Buffer.byteLength(name) > 55) {
      throw new InvalidOptionError(
        `[invalid option] a resource name must have 1 to 55 bytes: "${name}".`,
      );
    }
    resources[name] = fixed(`resources.${name}`, amount);
  }
  resources["node:127.0.0.1"] = limits.resourceUnit;
  resources["node:__internal_head__"] = limits.resourceUnit;
  return {
    resources,
    objectStoreBytes: store,
    plasmaDirectory: placeOf(options.plasmaDirectory, store),
    spillFolders: spillFolders(options.objectSpillingDirectory).join("\n"),
    labels: options.labels ?? {},
    memory: memorySettings(process.env, options.systemConfig),
  };
}

// Made when they are not there, so that a wrong one is told at the start and not when the store is full.
function spillFolders(wanted: string | readonly string[] | undefined): string[] {
  const folders = typeof wanted === "string" ? [wanted] : [...(wanted ?? [])];
  return folders.map((folder) => {
    const path = resolve(folder);
    try {
      if (path.includes("\n")) throw new Error("a line break in the name");
      mkdirSync(path, { recursive: true });
      accessSync(path, constants.W_OK | constants.X_OK);
    } catch (error) {
      throw new InvalidOptionError(
        `[invalid option] objectSpillingDirectory ${path} cannot be used: ${(error as Error).message}. Name a folder that you may write to.`,
        { cause: error },
      );
    }
    return path;
  });
}

// A file of the store is sparse: on a mount that is too small a later write would end the process by SIGBUS.
function placeOf(folder: string | undefined, storeBytes: number): string {
  if (folder === undefined) return "";
  let free: number;
  try {
    const { bavail, bsize } = statfsSync(folder);
    free = bavail * bsize;
  } catch (error) {
    throw new InvalidOptionError(
      `[invalid option] plasmaDirectory ${folder} cannot be used: ${(error as Error).message}. Name an existing folder on a memory file system, or leave it out.`,
      { cause: error },
    );
  }
  if (free < storeBytes) {
    throw new ObjectStoreFullError(
      `[object store full] plasmaDirectory ${folder} has ${free} bytes free, but the object store needs ${storeBytes}. Free space there, ask for a smaller objectStoreMemory, or leave plasmaDirectory out.`,
    );
  }
  return folder;
}
