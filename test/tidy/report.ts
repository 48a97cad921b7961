// SPDX-License-Identifier: Apache-2.0
//
// The shape of a tidy check: a sentence that is true of a tidy tree, and a function that gives
// the findings against it (none: the check passes). Checks read files, and change nothing.

import { readFileSync } from "node:fs";
import { at } from "../../scripts/lib/paths.mjs";
import { isGenerated, trackedFiles } from "../../scripts/lib/tree.mjs";

export interface Check {
  /** A sentence about the tree. */
  readonly title: string;
  /** Findings as `path:line: what`, or null when the check's tool is not there. */
  readonly run: () => string[] | null | Promise<string[] | null>;
}

/** All tracked files, relative to the root. */
export const files: readonly string[] = trackedFiles();
/** Source files of ours: code in the three languages, not generated, not third-party. */
export const code: readonly string[] = files.filter(
  (path) => /\.(ts|mts|cts|mjs|cjs|py|pyi|cc|h)$/.test(path) && !isGenerated(path),
);

const cache = new Map<string, string>();

/** The text of a tracked file. */
export function text(path: string): string {
  let found = cache.get(path);
  if (found === undefined) {
    found = readFileSync(at(path), "utf8");
    cache.set(path, found);
  }
  return found;
}

/** The lines of a tracked file. */
export const lines = (path: string): string[] => text(path).split("\n");
