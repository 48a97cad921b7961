// SPDX-License-Identifier: Apache-2.0
//
// `npm run format [-- PATH ...]`: formats TypeScript, Python and C++ in place (Biome, ruff,
// clang-format), the whole tree or the given paths.

import { relative } from "node:path";
import { must } from "./lib/exec.mjs";
import { main } from "./lib/log.mjs";
import { at, nodeBin, root, venvBin } from "./lib/paths.mjs";
import { filesBelow } from "./lib/stamp.mjs";
import { isGenerated } from "./lib/tree.mjs";
import { setup } from "./setup.mjs";

const folders = ["ts", "native", "python-bridge", "test", "examples", "bench", "scripts"];

await main(async () => {
  await setup({ steps: [] });
  const wanted = process.argv.slice(2);
  const files = (
    wanted.length > 0 ? wanted.map((path) => at(path)) : folders.map((name) => at(name))
  )
    .flatMap((path) => filesBelow(path))
    .map((path) => relative(root, path))
    .filter((path) => !isGenerated(path));
  const ending = (...endings) =>
    files.filter((path) => endings.some((text) => path.endsWith(text)));
  const web = ending(".ts", ".mjs", ".json");
  if (web.length > 0)
    await must(nodeBin("biome"), ["check", "--write", "--no-errors-on-unmatched", ...web]);
  const python = ending(".py", ".pyi");
  const config = ["--config", at("python-bridge", "pyproject.toml")];
  if (python.length > 0)
    await must(`${venvBin}/ruff`, ["check", "--fix", "-q", ...config, ...python]);
  if (python.length > 0) await must(`${venvBin}/ruff`, ["format", "-q", ...config, ...python]);
  const native = ending(".cc", ".h");
  if (native.length > 0) await must(`${venvBin}/clang-format`, ["-i", ...native]);
});
