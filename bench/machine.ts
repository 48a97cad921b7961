// SPDX-License-Identifier: Apache-2.0
//
// Where a run took place: what a reader needs to judge its figures.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { places } from "./install.ts";

/** The machine and its versions. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly kernel: string;
  readonly node: string;
  readonly python: string;
  readonly commit: string;
}

/** Looks at the machine. */
export function machine(): Machine {
  const release = text(() => readFileSync("/etc/os-release", "utf8"));
  return {
    processor: cpus()[0]?.model.trim() || "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(release)?.[1] ?? "unknown",
    kernel: text(() => readFileSync("/proc/sys/kernel/osrelease", "utf8")),
    node: process.version,
    python: text(() => execFileSync(places.python, ["--version"], { encoding: "utf8" })),
    commit: text(() =>
      execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: places.root, encoding: "utf8" }),
    ),
  };
}

/** The load averages of 1, 5 and 15 minutes. */
export const load = (): string =>
  loadavg()
    .map((value) => value.toFixed(2))
    .join(" ");

function text(read: () => string): string {
  try {
    return read().trim();
  } catch {
    return "unknown";
  }
}
