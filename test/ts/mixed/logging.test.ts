// SPDX-License-Identifier: Apache-2.0
// Goal: `init({ logging })` of a TypeScript driver holds in Python workers, with fields that Python's records lack as null.
// Method: a Python function that logs below and at the level; the log files of the workers.

import { get, init, pyFunction, shutdown } from "polyray";
import t from "tap";
import { fixtures, jsonLogLines, until } from "./support.ts";

process.env.PYTHONPATH = fixtures;
t.teardown(() => shutdown());

t.test("lines of Python workers are JSON objects from the level on", async (t) => {
  const logging = { encoding: "json", level: "warning", attrs: ["process", "ofNobody"] } as const;
  const runtime = await init({ numCpus: 1, logToDriver: false, logging });
  const pid = await get(pyFunction("mixed_side", "logs_lines").remote());
  const lines = () => jsonLogLines(runtime.sessionDir);
  await until(() => lines().length > 0, "a line of JSON");
  t.match(lines(), [{ levelname: "WARNING", message: "shown", process: pid, ofNobody: null }]);
  t.equal(lines().length, 1);
});
