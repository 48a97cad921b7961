// SPDX-License-Identifier: Apache-2.0
//
// Goal: the bundle in dist/ is the program that the sources say: names are kept, one instance of everything, and what a start
// does not need is not loaded.
// Method: the package as a user imports it, in fresh processes that report what they loaded.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as polyray from "polyray";
import t from "tap";

const root = fileURLToPath(new URL("../../..", import.meta.url));

function printed(program: string): string {
  // tap adds itself to the options of every program that a test starts, and would be seen as loaded.
  const plain = ["-u", "NODE_OPTIONS", process.execPath];
  return execFileSync("env", [...plain, "--input-type=module", "-e", program], {
    cwd: root,
    encoding: "utf8",
  });
}

t.test("exported functions and classes are called what they are exported as", async (t) => {
  let seen = 0;
  for (const [name, value] of Object.entries(polyray)) {
    if (typeof value !== "function") continue;
    t.equal(value.name, name);
    seen += 1;
  }
  t.ok(seen > 50);
});

t.test("an import loads neither gRPC nor crypto nor the parser of functions", async (t) => {
  const loaded = printed(
    `await import("polyray");
    const loaded = [...process.moduleLoadList];
    const { Module } = await import("node:module");
    console.log([...loaded, ...Object.keys(Module._cache)].join("\\n"));`,
  ).split("\n");
  t.ok(loaded.includes("NativeModule fs"));
  t.notOk(loaded.includes("NativeModule http2"));
  t.notOk(loaded.includes("NativeModule crypto"));
  t.notOk(loaded.some((name) => /node_modules.(acorn|@grpc)/.test(name)));
});

t.test("require and import give the same instance", async (t) => {
  const answer = printed(`
    import { createRequire } from "node:module";
    import * as one from "polyray";
    const two = createRequire(import.meta.url)("polyray");
    console.log(one.ObjectRef === two.ObjectRef && one.init === two.init);`);
  t.equal(answer.trim(), "true");
});

t.test("packages inside the bundle are named with their licences", async (t) => {
  const dist = join(root, "dist");
  const notices = readFileSync(join(dist, "THIRD-PARTY-NOTICES.txt"), "utf8");
  const maps = readdirSync(join(dist, "chunks")).filter((name) => name.endsWith(".map"));
  const inside = new Set<string>();
  for (const map of maps) {
    const { sources } = JSON.parse(readFileSync(join(dist, "chunks", map), "utf8")) as {
      sources: string[];
    };
    for (const source of sources) {
      const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1];
      if (name !== undefined) inside.add(name);
    }
  }
  t.ok(inside.size > 0);
  for (const name of inside) t.match(notices, `${name} `);
});
