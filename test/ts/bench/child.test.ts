// SPDX-License-Identifier: Apache-2.0
//
// Goal: a broken row of the benchmark is reported as failed, ends nothing else, and leaves no
// process behind.
// Method: a small program whose rows throw, hang, end their process or work; the watchdog is short.

import { fileURLToPath } from "node:url";
import t from "tap";
import { BenchChild, type Program, runRows } from "../../../bench/child.ts";
import { benchOptions } from "../../../bench/options.ts";
import { marked } from "../../../bench/processes.ts";
import { median } from "../../../bench/results.ts";
import { selectRows } from "../../../bench/table.ts";

const program: Program = {
  command: process.execPath,
  args: [
    "--import",
    "tsx",
    fileURLToPath(new URL("./fixtures/rows-program.ts", import.meta.url)),
    "--warmup-s=0.05",
    "--window-s=0.05",
  ],
};

t.test("each row has its own outcome, whatever the others do", async (t) => {
  const rows = ["throwing", "hanging", "absent", "ending", "good"];
  const { version, outcomes } = await runRows(program, rows, 2);
  t.equal(version, "9");
  t.match(outcomes.get("throwing"), { kind: "failed", reason: /no such thing/ });
  t.match(outcomes.get("hanging"), { kind: "failed", reason: /watchdog/ });
  t.match(outcomes.get("absent"), { kind: "skipped", reason: /cannot do that/ });
  t.match(outcomes.get("ending"), { kind: "failed", reason: /code 3/ });
  const good = outcomes.get("good");
  t.ok(good?.kind === "value" && good.value > 0, "the row after the broken ones was measured");
});

t.test("a program that does not start fails all its rows at once", async (t) => {
  const broken = {
    command: process.execPath,
    args: ["-e", "console.error('bad'); process.exit(1)", "--"],
  };
  const { outcomes } = await runRows(broken, ["a", "b"], 5);
  for (const row of ["a", "b"]) {
    t.match(outcomes.get(row), { kind: "failed", reason: /did not start.*code 1.*bad/ });
  }
});

t.test("no process of a program is left, also of one that was ended", async (t) => {
  const args = [...program.args, "--rows", '["hanging"]'];
  const child = new BenchChild({ ...program, args }, (event, self) => {
    if (event.event === "begin") self.watch(0.1);
  });
  t.ok(marked(child.mark).length > 0, "its mark finds it");
  await child.ended;
  t.ok(child.timedOut);
  t.same(marked(child.mark), []);
});

t.test("rows are chosen by name or part of it; what is unknown is refused", async (t) => {
  t.same(
    selectRows(["1:1 actor calls sync", "wait"]).map(({ name }) => name),
    ["wait 1k refs", "1:1 actor calls sync"],
  );
  t.throws(() => benchOptions(["--rows", "nothing"]), /no row/);
  t.throws(() => benchOptions(["--peer", "spark"]), /unknown: spark/);
  t.throws(() => benchOptions(["--rounds", "0"]), /--rounds/);
  t.same(benchOptions(["--peer", "none", "--lang", "py"])?.contestants, ["polyray-py"]);
});

t.test("the median of an even number of values lies between the middle two", async (t) => {
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.equal(median([9, 1, 5]), 5);
});
