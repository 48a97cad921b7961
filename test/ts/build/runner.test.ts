// SPDX-License-Identifier: Apache-2.0
//
// Goal: the test runner cannot pass what failed: crashes, watchdogs and skips are counted.
// Method: TAP texts as tap prints them, and a program that outlives its watchdog.

import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { run } from "../../../scripts/lib/exec.mjs";
import { tapStream } from "../../../scripts/lib/tap-stream.mjs";

function counted(lines: string[]) {
  const stream = tapStream(() => {});
  for (const line of lines) stream.line(line);
  return stream.end();
}

t.test("tests are counted one level below the file, skips apart", async (t) => {
  const counts = counted([
    "TAP version 14",
    "# Subtest: a.test.ts",
    "    # Subtest: works",
    "        ok 1 - inner",
    "        1..1",
    "    ok 1 - works # time=1ms",
    "    ok 2 - later # SKIP",
    "    1..2",
    "ok 1 - a.test.ts # time=2ms",
  ]);
  t.same(counts, { passed: 1, failed: 0, skipped: 1 });
});

t.test("a failed test is counted once, not again for its file", async (t) => {
  const counts = counted(["    not ok 1 - breaks", "    ok 2 - works", "not ok 1 - a.test.ts"]);
  t.same(counts, { passed: 1, failed: 1, skipped: 0 });
});

t.test("a file that dies without a failed test is one failure", async (t) => {
  const counts = counted(["    ok 1 - works", "not ok 1 - a.test.ts # exitCode=139"]);
  t.same(counts, { passed: 1, failed: 1, skipped: 0 });
});

t.test("the watchdog ends a program and its children", async (t) => {
  const code = await run("sh", ["-c", "sleep 60 & wait"], { timeoutS: 0.2 });
  t.equal(code, 124);
});

t.test("a program that a signal ended has failed", async (t) => {
  t.not(await run("sh", ["-c", "kill -SEGV $$"]), 0);
});

t.test("what runs before npm ci needs no package", async (t) => {
  const folder = new URL("../../../scripts/", import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const needs = files
    .filter((file) => file.endsWith(".mjs"))
    .flatMap((file) => {
      const text = readFileSync(new URL(file, folder), "utf8");
      return [...text.matchAll(/^(?:import|export) [^;]*?from "([^"]+)"/gm)].map(
        (m) => `${file}: ${m[1]}`,
      );
    });
  t.ok(needs.some((need) => need.includes("node:fs")));
  t.same(
    needs.filter((need) => !/: (node:|\.)/.test(need)),
    [],
  );
});
