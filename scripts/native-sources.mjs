// SPDX-License-Identifier: Apache-2.0
//
// Prints the sources of the named sections of native/sources.txt, one a line, for binding.gyp.

import { readSources } from "./lib/sources.mjs";

const sections = readSources();
for (const name of process.argv.slice(2)) {
  const paths = sections.get(name);
  if (paths === undefined) throw new Error(`native/sources.txt has no section [${name}]`);
  for (const path of paths) console.log(path);
}
