// SPDX-License-Identifier: Apache-2.0
//
// Reads native/sources.txt, the one list of native sources (format: see that file).

import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";
import { at, root } from "./paths.mjs";
import { filesBelow } from "./stamp.mjs";

/** Section name -> paths relative to the root. */
export function readSources() {
  const sections = new Map();
  let current = null;
  for (const raw of readFileSync(at("native", "sources.txt"), "utf8").split("\n")) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const header = /^\[([a-z]+)\]$/.exec(line);
    if (header) {
      current = [];
      sections.set(header[1], current);
    } else if (current === null) {
      throw new Error(`native/sources.txt: '${line}' stands before the first [section]`);
    } else {
      current.push(line);
    }
  }
  return sections;
}

/** Listed files that do not exist, and existing .cc files that no section lists. */
export function checkSources() {
  const listed = [...readSources().values()].flat();
  const isSource = (path) => path.endsWith(".cc") || path.endsWith(".c");
  const present = [at("native"), at("python-bridge", "ext")]
    .flatMap((folder) => filesBelow(folder, isSource))
    .map((path) => relative(root, path))
    .filter((path) => !path.startsWith("native/third_party/") && !path.startsWith("native/fuzz/"));
  return {
    missing: listed.filter((path) => !existsSync(at(path))),
    unlisted: present.filter((path) => !listed.includes(path)),
    doubled: listed.filter((path, index) => listed.indexOf(path) !== index),
  };
}
