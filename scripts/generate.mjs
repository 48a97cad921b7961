// SPDX-License-Identifier: Apache-2.0
//
// `npm run generate [-- --check]`: runs every generator: errors and limits for three languages
// (proto/*.json), FlatBuffers (proto/shm), the stubs of the CPython extension. What they make is
// committed; the tidy suite checks that it is up to date.

import { readdirSync } from "node:fs";
import { run } from "./lib/exec.mjs";
import { main, step } from "./lib/log.mjs";
import { at } from "./lib/paths.mjs";
import { setup } from "./setup.mjs";

await main(async () => {
  const args = process.argv.slice(2);
  if (!args.includes("--check")) await setup();
  let failed = 0;
  for (const name of readdirSync(at("scripts")).sort()) {
    if (!/^gen-(?!support).*\.mjs$/.test(name)) continue;
    step(name);
    if ((await run(process.execPath, [at("scripts", name), ...args])) !== 0) failed += 1;
  }
  return failed === 0 ? 0 : 1;
});
