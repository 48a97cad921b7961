// SPDX-License-Identifier: Apache-2.0
//
// `npm run demo`: does all the set-up (Python packages of the demo included), then runs
// examples/demo/main.ts.

import { existsSync } from "node:fs";
import { run } from "./lib/exec.mjs";
import { main, SetupError, step } from "./lib/log.mjs";
import { at } from "./lib/paths.mjs";
import { setup } from "./setup.mjs";

const program = "examples/demo/main.ts";

await main(async () => {
  if (!existsSync(at(program))) throw new SetupError(`${program} does not exist`);
  await setup({ groups: ["build", "test", "demo"] });
  step("demo");
  const args = process.argv.slice(2);
  return run(process.execPath, ["--import", "tsx", program, ...args], { timeoutS: 1800 });
});
