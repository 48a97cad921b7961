// SPDX-License-Identifier: Apache-2.0
//
// `npm run build:gyp`: builds the addon by node-gyp from binding.gyp, to prove that the second
// build description works. It runs in build/gyp, a folder of links to the sources, since
// node-gyp writes (and cleans) a folder named build beside binding.gyp.
// Result: build/gyp/build/Release/polyray.node.

import { existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { must } from "./lib/exec.mjs";
import { withBuildLock } from "./lib/lock.mjs";
import { main, SetupError, step } from "./lib/log.mjs";
import { nodePrefix } from "./lib/node-headers.mjs";
import { at, nodeBin, venvPython } from "./lib/paths.mjs";
import { ensureVenv } from "./lib/step-venv.mjs";

const stage = at("build", "gyp");
const linked = ["binding.gyp", "native", "scripts", "package.json", "node_modules"];

await main(() =>
  withBuildLock(async () => {
    await ensureVenv(["build"]);
    mkdirSync(stage, { recursive: true });
    for (const name of linked) {
      rmSync(`${stage}/${name}`, { force: true });
      symlinkSync(at(name), `${stage}/${name}`);
    }
    step("node-gyp");
    const flags = [
      `--nodedir=${await nodePrefix()}`,
      `--python=${venvPython}`,
      "--loglevel=warn",
      "-j",
      "2",
    ];
    await must(nodeBin("node-gyp"), ["configure", "build", ...flags], { cwd: stage });
    const built = `${stage}/build/Release/polyray.node`;
    if (!existsSync(built)) throw new SetupError("node-gyp made no polyray.node");
    const addon = createRequire(import.meta.url)(built);
    step(`build/gyp/build/Release/polyray.node loads (exports: ${Object.keys(addon).length})`);
  }),
);
