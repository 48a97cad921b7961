// SPDX-License-Identifier: Apache-2.0
//
// Goal: the tidy checks find what they are there to find.
// Method: each check is given a text that breaks its rule, and one that keeps it.

import t from "tap";
import { layerFindings, trees } from "../../tidy/layers.ts";
import {
  exportDocFindings,
  headerFindings,
  machineFindings,
  nameFindings,
  sizeFindings,
  spdxFindings,
  todoFindings,
} from "../../tidy/text-checks.ts";

const tree = (root: string) => {
  const found = trees.find((candidate) => candidate.root === root);
  if (found === undefined) throw new Error(`no tree ${root}`);
  return found;
};

t.test("an import of a higher layer or of a sibling is found", async (t) => {
  const ts = tree("ts");
  t.same(layerFindings(ts, "gcs/a.ts", 'import { b } from "../base/b.ts";'), []);
  t.same(layerFindings(ts, "gcs/a.ts", 'import { b } from "./b.js";'), []);
  t.match(layerFindings(ts, "gcs/a.ts", 'import { b } from "../node/b.ts";'), [/sibling/]);
  t.match(layerFindings(ts, "base/a.ts", 'export * from "../api/b.ts";'), [/above/]);
  t.match(layerFindings(ts, "gcs/a.ts", 'await import("../index.js");'), [/above/]);
  t.match(layerFindings(ts, "gcs/a.ts", 'import "../../native/x.js";'), [/leaves/]);
  t.match(layerFindings(ts, "nowhere/a.ts", ""), [/not in the layer table/]);
});

t.test("an include of a higher layer or of a sibling is found", async (t) => {
  const native = tree("native");
  t.same(
    layerFindings(native, "store/a.cc", '#include "os/env.h"\n#include <vector>\n#include "a.h"'),
    [],
  );
  t.match(layerFindings(native, "store/a.cc", '#include "raylet/raylet.h"'), [/^1: .*above/]);
  t.match(layerFindings(native, "raylet/a.cc", '\n#include "client/client.h"'), [/^2: .*sibling/]);
});

t.test("a missing licence line and a missing opening comment are found", async (t) => {
  t.same(spdxFindings("// SPDX-License-Identifier: Apache-2.0\n"), []);
  t.equal(spdxFindings("let a;\n").length, 1);
  t.same(
    headerFindings("a.ts", "// SPDX-License-Identifier: Apache-2.0\n//\n// What it is.\nlet a;"),
    [],
  );
  t.equal(headerFindings("a.ts", "// SPDX-License-Identifier: Apache-2.0\n\nlet a;").length, 1);
  t.equal(headerFindings("a.py", "# SPDX-License-Identifier: Apache-2.0\nimport os\n").length, 1);
});

t.test("a large file, an empty name, a machine's path and a bare note are found", async (t) => {
  t.equal(sizeFindings("\n".repeat(10), 5).length, 1);
  t.same(nameFindings("ts/base/reference.ts", "class Reference {}"), []);
  t.equal(nameFindings("ts/base/string-utils.ts", "export class TaskManager {}\n").length, 2);
  t.equal(machineFindings(`const a = "/${"work"}/main/x";`).length, 1);
  t.equal(machineFindings(`https://${"registry"}.npmjs.org/x`).length, 1);
  t.equal(todoFindings("// TODO later").length, 1);
  t.same(todoFindings("// TODO(#12): later"), []);
});

t.test("an export without a comment is found", async (t) => {
  t.same(exportDocFindings("/** What. */\nexport function a(): void {}"), []);
  t.equal(exportDocFindings("\nexport const b = 1;").length, 1);
});
