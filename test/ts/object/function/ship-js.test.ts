// SPDX-License-Identifier: Apache-2.0
/**
 * Goal: functions of plain JavaScript scripts arrive in another process and do there what they did
 * here. Method: a driver process describes, a worker process revives and calls (harness.ts).
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { makeProject, type Outcome } from "./harness.ts";

const project = makeProject();
t.teardown(() => project.remove());

/** One-based number of the first line that holds `mark`. */
function lineOf(file: string, mark: string): number {
  const text = readFileSync(join(project.folder, file), "utf8");
  return text.split("\n").findIndex((line) => line.includes(mark)) + 1;
}

function expectResults(
  test: Test,
  found: Map<string, Outcome>,
  wanted: Record<string, unknown>,
): void {
  for (const [name, result] of Object.entries(wanted)) {
    const outcome = found.get(name);
    test.equal(outcome?.error ?? outcome?.describeError, undefined, `${name} runs`);
    test.same(outcome?.result, result, `${name} gives what it gave at home`);
  }
}

t.test("an ES module script ships its functions", async (t) => {
  const found = await project.ship("node", "main.mjs");
  const mainUrl = pathToFileURL(join(project.folder, "main.mjs")).href;
  expectResults(t, found, {
    capturesValue: 7,
    moduleExport: 9,
    renamedExport: 7,
    defaultExport: "foo",
    anonymousDefault: 2,
    alone: 3,
    aloneClass: 3,
    unexported: 13,
    cjsExport: 6,
    cjsDefault: 11,
    recursive: 55,
    mutual: false,
    again: 58,
    sharedVariable: [2, 2],
    twoCounters: [2, 1],
    containers: [8, true, 6, true],
    closure: 15,
    method: 18,
    generator: [10, 11],
    getter: 3,
    computedMethod: 3,
    patterns: [1, 3, 1, []],
    derived: ["hi1", 7, true],
    derivedAgain: ["hi1", 7, true],
    classCycle: [2, 2],
    classCycleOther: [2, [2, 2]],
    builtinBase: 0,
    mixin: "bm",
    statics: [7, 8, "e"],
    collections: [4, true, 2],
    symbols: [3, "state", true, true],
    namespace: 16,
    awaitedNamespace: 5,
    builtins: ["function", true, "a/b", "c/d"],
    packages: ["function", "function"],
    json: 1,
    intrinsics: [1, true],
    meta: [mainUrl, join(project.folder, "main.mjs"), mainUrl.replace("main.mjs", "lib.mjs")],
    dynamicImport: 5,
    mainExport: 4,
    importOfMain: 8,
    big: "1n",
    properties: [1, 3],
    instanceOnly: "function",
  });
  const kinds = [...found.values()]
    .filter((outcome) => outcome.kind === "module")
    .map(({ name }) => name);
  t.same(
    kinds,
    [
      "moduleExport",
      "renamedExport",
      "defaultExport",
      "anonymousDefault",
      "alone",
      "aloneClass",
      "cjsExport",
    ],
    "exports of other modules go by name, the main script's never",
  );
  const line = lineOf("main.mjs", "// LINE");
  t.match(
    found.get("throws")?.stack ?? "",
    `throwsHere (${mainUrl}:${line}:9)`,
    "the stack points home",
  );
});

t.test("what cannot travel is refused with the name of the variable", async (t) => {
  const found = await project.ship("node", "main.mjs");
  const refused: Record<string, RegExp> = {
    arrowThis: /uses `this`/,
    arrowArguments: /uses `arguments`/,
    bound: /a bound function/,
    native: /native function|bound function/,
    promise: /> pending: a promise/,
    privateMethod: /private names/,
    superMethod: /`super`/,
    outOfScopeKey: /"key" .* out of scope/,
    proxy: /a Proxy/,
    nested: /> held > list > 1 > bad: a bound function/,
  };
  for (const [name, pattern] of Object.entries(refused)) {
    t.match(found.get(name)?.describeError ?? "(described)", pattern, name);
    t.match(found.get(name)?.describeError, /^UnserializableError: \[cannot be sent\]/, name);
  }
});

t.test("a CommonJS script ships its functions", async (t) => {
  const found = await project.ship("node", "main.cjs");
  expectResults(t, found, {
    required: 16,
    exportedFunction: 6,
    wholeExports: 8,
    capturesExports: 13,
    unexported: 6,
    builtins: "a/b/c",
    packages: "function",
    json: 1,
    sloppy: true,
    strict: true,
    rootSloppy: true,
    moduleLocals: [
      "function",
      join(project.folder, "lib.cjs"),
      join(project.folder, "main.cjs"),
      project.folder,
    ],
    ownExports: 10,
    builtinBase: "function",
    oldStyle: 8,
    cells: [{ cell: 30 }, 30],
    calledCell: [true, "function", "new"],
    template: "a|b1",
    globals: ["function", "number", 1, "function", 3],
    labels: 1,
    privateStatic: 1,
    asyncArrow: 5,
    generator: [3, 1],
    evaluated: 3,
    dynamicImport: 5,
  });
  const line = lineOf("main.cjs", "// LINE");
  t.match(
    found.get("throws")?.stack,
    new RegExp(`throwsHere \\(.*main\\.cjs:${line}:9\\)`),
    "the stack points home",
  );
});

t.test("functions ship while a debugger may attach", async (t) => {
  // A port of 0 lets Node choose a free one.
  const found = await project.ship("node", "main.cjs", ["--inspect=127.0.0.1:0"]);
  t.equal(found.get("required")?.result, 16);
});
