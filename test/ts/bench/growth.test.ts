// SPDX-License-Identifier: Apache-2.0
//
// Goal: the growth run asks for the loads that it should and judges curves by the rule.
// Method: plans, curves with known growth, and a small program that answers as a contestant does.

import { fileURLToPath } from "node:url";
import t from "tap";
import {
  curves,
  type Growth,
  growthPlan,
  growthPower,
  growthRows,
  runGrowth,
  selectGrowth,
} from "../../../bench/growth.ts";
import { growthSection, loadText } from "../../../bench/report-growth.ts";

const loads = [1, 10, 100, 1000];
const growth = (cost: (load: number) => number): Growth => ({
  contestant: "polyray-py",
  row: "queued tasks",
  points: loads.map((load) => ({ load, costs: { submit: cost(load) } })),
  failed: null,
});

t.test("the full plan reaches a million tasks and 4 GiB; the quick one stays small", async (t) => {
  const store = 6 * 2 ** 30;
  const largest = (quick: boolean) =>
    Object.fromEntries(
      growthPlan(growthRows, quick, store).map(({ row, loads: own }) => [row, own.at(-1)?.load]),
    );
  const full = largest(false);
  t.equal(full["queued tasks"], 1e6);
  t.equal(full["live objects"], 1e6);
  t.equal(full["actors"], 100);
  t.equal(full["object size"], 2 ** 32 - 2 ** 20);
  const quick = largest(true);
  t.equal(quick["queued tasks"], 1e4);
  t.equal(quick["actors"], 10);
  const small = growthPlan(selectGrowth(["object size"]), false, 2 ** 31);
  t.ok(
    small[0]!.loads.every(({ load }) => load < 2 ** 31),
    "no object larger than the store",
  );
});

t.test("small loads are run several times, the largest once", async (t) => {
  const plan = growthPlan(selectGrowth(["queued tasks"]), false, 2 ** 31)[0]!;
  t.ok(plan.loads[0]!.times > 1);
  t.equal(plan.loads.at(-1)?.times, 1);
});

t.test("a constant cost keeps the rule, a rising one breaks it", async (t) => {
  t.match(curves([growth(() => 7)])[0], { rise: 1, keeps: true });
  t.match(curves([growth((load) => 100 / load)])[0], { keeps: true });
  const quarter = curves([growth((load) => (load === 1000 ? 1.3 : 1))])[0]!;
  t.equal(quarter.keeps, false, "a third dearer at the largest load");
  const scan = curves([growth((load) => 100 + load)])[0]!;
  t.equal(scan.keeps, false, "each call looks at all others");
});

t.test("a row that falls first and then grows worse than linearly breaks the rule", async (t) => {
  const late = curves([growth((load) => 1000 / load + load / 2)])[0]!;
  t.ok(late.rise < 1.25, "cheaper than a lone call");
  t.ok(late.power > 1.15);
  t.equal(late.keeps, false);
});

t.test("the power of the growth is 1 for linear and 2 for quadratic work", async (t) => {
  const points = (cost: (load: number) => number) =>
    loads.map((load) => ({ load, cost: cost(load) }));
  t.ok(Math.abs(growthPower(points(() => 3)) - 1) < 1e-9);
  t.ok(Math.abs(growthPower(points((load) => load)) - 2) < 1e-9);
  t.equal(growthPower([{ load: 1, cost: 5 }]), 1);
});

t.test("the report has each curve, marks what breaks the rule and says what failed", async (t) => {
  const text = growthSection([
    growth((load) => load),
    { contestant: "polyray-ts", row: "actors", points: [], failed: "no room" },
  ]);
  t.match(text, /### queued tasks/);
  t.match(text, /\| submit, polyray-py \| 1 \| 10 \| 100 \| 1,000 \| \*\*1000\.00\*\* \|/);
  t.match(text, /- polyray-ts, actors: failed: no room/);
  t.equal(growthSection([]), "", "nothing was run: no section");
});

t.test("loads read as people write them", async (t) => {
  t.equal(loadText(10_000, "units"), "10k");
  t.equal(loadText(1e6, "units"), "1M");
  t.equal(loadText(2 ** 14, "bytes"), "16 KiB");
  t.equal(loadText(2 ** 32 - 2 ** 20, "bytes"), "4 GiB");
});

t.test("each row has a process of its own; one that ends early is reported", async (t) => {
  const program = {
    command: process.execPath,
    args: [
      "--import",
      "tsx",
      fileURLToPath(new URL("./fixtures/growth-program.ts", import.meta.url)),
    ],
  };
  const rows = selectGrowth(["queued tasks", "actors"]);
  const found = await runGrowth("polyray-ts", program, rows, true);
  t.match(found[0], { row: "queued tasks", failed: null });
  t.same(
    found[0]!.points.map(({ load }) => load),
    [1, 10, 100, 1000, 10_000],
  );
  t.ok(found[0]!.points[0]!.costs["memory"]! > 0, "the driver counted its memory");
  t.match(found[1], { row: "actors", points: [], failed: /code 4/ });
});
