// SPDX-License-Identifier: Apache-2.0
//
// Builds ts/ into dist/: the bundled ESM with its source maps (bundle-ts.mjs), declarations by tsc, what is not
// TypeScript, the CommonJS entry; and links the command into node_modules/.bin.

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { bundleTs } from "./bundle-ts.mjs";
import { run } from "./exec.mjs";
import { SetupError, step } from "./log.mjs";
import { at, distDir, nodeBin } from "./paths.mjs";
import { dropStamp, filesBelow, hashOf, isFresh, writeStamp } from "./stamp.mjs";

const isCode = (path) => /\.(ts|tsx|mts|cts)$/.test(path);
const inputs = () => [
  at("ts"),
  at("tsconfig.json"),
  at("tsconfig.build.json"),
  at("package-lock.json"),
  at("scripts", "lib", "step-ts.mjs"),
  at("scripts", "lib", "bundle-ts.mjs"),
];

export async function buildTs({ force = false } = {}) {
  const hash = hashOf(inputs());
  const outputs = ["index.cjs", "index.js", "index.d.ts"].map((name) => join(distDir, name));
  if (!force && isFresh("ts", hash, outputs)) return linkCommand();
  step("TypeScript");
  dropStamp("ts");
  if (!existsSync(join(distDir, "index.d.ts")))
    rmSync(at("build", "ts"), { recursive: true, force: true });
  const code =
    filesBelow(at("ts"), isCode).length === 0
      ? 0
      : await run(nodeBin("tsc"), ["-p", "tsconfig.build.json"]);
  mkdirSync(distDir, { recursive: true });
  removeOrphans();
  for (const path of filesBelow(at("ts"), (file) => !isCode(file))) {
    const target = join(distDir, relative(at("ts"), path));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(path, target);
  }
  await bundleTs();
  writeCommonJs();
  linkCommand();
  if (code !== 0) throw new SetupError("tsc found errors (dist/ was written all the same)");
  writeStamp("ts", hash);
}

// Declarations whose source is gone would still be found.
function removeOrphans() {
  for (const path of filesBelow(distDir, (file) => /\.d\.ts(\.map)?$/.test(file))) {
    const stem = relative(distDir, path).replace(/\.d\.ts(\.map)?$/, "");
    const sources = [`${stem}.ts`, `${stem}.tsx`, `${stem}.d.ts`];
    if (!sources.some((name) => existsSync(at("ts", name)))) rmSync(path);
  }
}

// One instance for both module systems: Node >= 20.19 can require the ESM entry.
function writeCommonJs() {
  writeFileSync(
    join(distDir, "index.cjs"),
    [
      "// SPDX-License-Identifier: Apache-2.0",
      "// The CommonJS entry: the same instance as the ESM one. The graph has no top-level await.",
      '"use strict";',
      'module.exports = require("./index.js");',
      "",
    ].join("\n"),
  );
  writeFileSync(
    join(distDir, "index.d.cts"),
    ["// SPDX-License-Identifier: Apache-2.0", 'export * from "./index.js";', ""].join("\n"),
  );
}

function linkCommand() {
  const target = join(distDir, "cli", "main.js");
  if (!existsSync(target)) return;
  chmodSync(target, 0o755);
  const link = nodeBin("polyray");
  rmSync(link, { force: true });
  symlinkSync(relative(dirname(link), target), link);
}
