// SPDX-License-Identifier: Apache-2.0
//
// `npm run sim` and `npm run bench`: sets up, then runs test/sim/main.ts or bench/main.ts with
// the arguments given.

import { existsSync } from "node:fs";
import { run } from "./lib/exec.mjs";
import { main, SetupError } from "./lib/log.mjs";
import { at } from "./lib/paths.mjs";
import { setup } from "./setup.mjs";

const programs = { sim: "test/sim/main.ts", bench: "bench/main.ts" };

await main(async () => {
  const [name, ...args] = process.argv.slice(2);
  const program = programs[name];
  if (program === undefined) throw new SetupError(`no such program: ${name}`);
  if (!existsSync(at(program))) throw new SetupError(`${program} does not exist`);
  await setup();
  return run(process.execPath, ["--import", "tsx", program, ...args], { timeoutS: 7200 });
});
