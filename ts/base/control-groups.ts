// SPDX-License-Identifier: Apache-2.0
// Where the control groups of a process are (version 1 and 2).

import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The folders below `root` whose limits hold for a process: of each hierarchy with one of the controllers its group, as
 * `membership` (`/proc/self/cgroup`) names it, and all above it. In a container the path may be the host's and not be there;
 * then the root is the container's own group.
 */
export function groupFolders(
  root: string,
  membership: string,
  controllers: readonly string[],
): string[] {
  const folders = new Set([root, ...controllers.map((one) => join(root, one))]);
  for (const line of text(membership).split("\n")) {
    const [, names, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (names === undefined || path === undefined || path.includes("..")) continue;
    if (names !== "" && !names.split(",").some((one) => controllers.includes(one))) continue;
    let folder = join(root, names);
    folders.add(folder);
    for (const part of path.split("/").filter((one) => one !== "")) {
      folder = join(folder, part);
      folders.add(folder);
    }
  }
  return [...folders];
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
