// SPDX-License-Identifier: Apache-2.0
/**
 * Goal: functions of TypeScript scripts run by tsx arrive in a worker that was started with the
 * driver's allowed options, and their stacks name the TypeScript lines. Method: as ship-js.test.ts,
 * for both module formats and both ways to start tsx.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeProject } from "./harness.ts";

const project = makeProject();
t.teardown(() => project.remove());

function lineOf(file: string, mark: string): number {
  const text = readFileSync(join(project.folder, file), "utf8");
  return text.split("\n").findIndex((line) => line.includes(mark)) + 1;
}

const wanted = {
  capturesValue: 7,
  moduleExport: 9,
  defaultExport: "foo",
  unexported: 11,
  recursive: 55,
  again: 58,
  sharedVariable: [2, 2],
  derived: ["hi1", 7, true, 2, "Derived"],
  derivedAgain: ["hi1", 7, true, 2, "Derived"],
  decorated: "traced run",
  namespaceImport: 16,
  builtins: ["function", "function"],
  dynamicImport: 5,
  enums: "5Green",
  namespaces: 12,
  names: ["local", "fib"],
};

for (const mode of ["import-tsx", "tsx"] as const) {
  for (const format of ["esm", "cjs"] as const) {
    t.test(`a script run by ${mode} as ${format} ships its functions`, async (t) => {
      const found = await project.ship(mode, `${format}/main.ts`);
      for (const [name, result] of Object.entries(wanted)) {
        const outcome = found.get(name);
        t.equal(outcome?.error ?? outcome?.describeError, undefined, `${name} runs`);
        t.same(outcome?.result, result, `${name} gives what it gave at home`);
      }
      t.equal(found.get("moduleExport")?.kind, "module");
      const thrown = lineOf("main.ts", "throw new Error");
      const nested = lineOf("main.ts", "return throwsHere(");
      for (const name of ["throws", "throwsNested", "throwsAgain"]) {
        t.match(
          found.get(name)?.stack,
          new RegExp(`throwsHere \\(.*main\\.ts:${thrown}:\\d+\\)`),
          name,
        );
      }
      t.match(found.get("throwsNested")?.stack, new RegExp(`main\\.ts:${nested}:`));
      const inLib = lineOf("lib.ts", "// LINE");
      t.match(found.get("throwsInLib")?.stack, new RegExp(`throwsInLib \\(.*lib\\.ts:${inLib}:`));
    });
  }
}
