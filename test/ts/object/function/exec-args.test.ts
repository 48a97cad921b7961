// SPDX-License-Identifier: Apache-2.0
/** Goal: a worker takes the driver's loaders and heap sizes, and nothing that runs a second program. Method: tables. */

import t from "tap";
import {
  workerEnvironment,
  workerExecArgv,
  workerNodeOptions,
} from "../../../../ts/object/function/exec-args.ts";

t.test("loaders, conditions, source maps and sizes are kept in both spellings", async (t) => {
  const kept = [
    "--import",
    "tsx",
    "--import=./a.mjs",
    "--require",
    "./b.cjs",
    "-r",
    "./c.cjs",
    "--loader",
    "x",
    "--experimental-loader=y",
    "-C",
    "dev",
    "--conditions=prod",
    "--enable-source-maps",
    "--max-old-space-size=512",
    "--max_semi_space_size=8",
    "--stack-size=2000",
    "--experimental-strip-types",
    "--experimental-transform-types",
    "--no-warnings",
  ];
  t.same(workerExecArgv(kept), kept);
});

t.test("what runs, tests, watches or inspects stays behind with its value", async (t) => {
  const dropped = [
    "-e",
    "--import",
    "-p",
    "1",
    "--eval=2",
    "--print",
    "3",
    "--test",
    "--test-name-pattern",
    "--import",
    "--test-reporter=spec",
    "--watch",
    "--watch-path",
    "./src",
    "--inspect",
    "--inspect-brk=0",
    "--inspect-port",
    "9229",
    "--cpu-prof",
    "--cpu-prof-dir",
    "/x",
    "--interactive",
    "-i",
    "--check",
  ];
  t.same(workerExecArgv(dropped), []);
  t.same(workerExecArgv([...dropped, "--import", "tsx"]), ["--import", "tsx"]);
});

t.test("NODE_OPTIONS is filtered with its quotes", async (t) => {
  t.equal(workerNodeOptions(undefined), undefined);
  t.equal(workerNodeOptions("--inspect-brk --test"), undefined);
  t.equal(workerNodeOptions('--require "./a b.cjs" --inspect'), '--require "./a b.cjs"');
  t.equal(
    workerNodeOptions('--import="./a \\"b.mjs" --max-old-space-size=99'),
    '"--import=./a \\"b.mjs" --max-old-space-size=99',
  );
});

t.test("the worker's environment loses what ties it to a runner", async (t) => {
  const env = {
    A: "1",
    NODE_OPTIONS: "--inspect",
    NODE_TEST_CONTEXT: "x",
    NODE_CHANNEL_FD: "3",
    NODE_V8_COVERAGE: "/c",
  };
  t.same(workerEnvironment(env), { A: "1" });
  t.same(workerEnvironment({ NODE_OPTIONS: "--import tsx" }), { NODE_OPTIONS: "--import tsx" });
});
