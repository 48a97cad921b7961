// SPDX-License-Identifier: Apache-2.0
//
// Goal: the built addon loads in this Node and is of this version of the package.
// Method: require build/Release/polyray.node and compare with package.json.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import t from "tap";

const require = createRequire(import.meta.url);
const root = new URL("../../../", import.meta.url);

t.test("the addon carries the version of package.json", async (t) => {
  const addon = require("../../../build/Release/polyray.node") as { version: string };
  const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));
  t.equal(addon.version, version);
});
