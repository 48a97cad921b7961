// SPDX-License-Identifier: Apache-2.0
//
// Goal: what is written of a run says what was measured: percentiles, processor time, memory, start.
// Method: results made by hand, the report's lines and the specifications of the pictures.

import t from "tap";
import { benchOptions } from "../../../bench/options.ts";
import { growthSpec, ratioSpec } from "../../../bench/plots.ts";
import { report } from "../../../bench/report.ts";
import { latency, percentile, Results } from "../../../bench/results.ts";
import { callsWithin } from "../../../bench/startup.ts";
import { rows, selectRows } from "../../../bench/table.ts";

const upTo = (n: number) => Float32Array.from({ length: n }, (_, index) => index + 1);

t.test("percentiles are nearest ranks over all rounds together", async (t) => {
  t.equal(percentile([1, 2, 3, 4], 0.5), 2);
  t.equal(percentile([1, 2, 3, 4], 0.99), 4);
  t.equal(percentile([5], 0.5), 5);
  t.equal(percentile([1, 2], 0), 1);
  t.same(latency([upTo(100)]), { calls: 100, p50: 50, p90: 90, p99: 99, max: 100 });
  const pooled = latency([upTo(50), Float32Array.of(1000)]);
  t.match(pooled, { calls: 51, p50: 26, max: 1000 });
});

function sample(): Results {
  const results = new Results();
  const value = (of: number, more = {}) => ({ kind: "value" as const, value: of, ...more });
  for (const [who, rate] of [
    ["ray", 100],
    ["dask", 50],
    ["polyray-py", 5000],
  ] as const) {
    results.add(who, "single client tasks sync", value(rate, { cpuUs: 1e6 / rate }));
    results.add(who, "memory of a queued task", value(10_000 / rate));
  }
  results.add(
    "polyray-py",
    "single client tasks sync",
    value(5000, { cpuUs: 300, latencyUs: upTo(10) }),
  );
  results.addStart("polyray-py", {
    importMs: 61,
    firstResultMs: 200,
    wholeMs: 300,
    idle: { processes: 4, rssMb: 90, pssMb: 50, cpuMs: 1 },
    idleCpuMsPerS: 0.5,
    idleSyscallsPerS: 12,
  });
  results.growth.push({
    contestant: "polyray-py",
    row: "actors",
    points: [
      { load: 1, costs: { start: 100, memory: -5 } },
      { load: 10, costs: { start: 90, memory: 1000 } },
    ],
    failed: null,
  });
  return results;
}

t.test("the report has a line for each figure", async (t) => {
  const text = report(sample(), rows);
  t.match(text, /\| single client tasks sync \(\/s\) \| 100 \| 5,000 \| \*\*50x\*\* \| 40x/);
  t.match(text, /\| memory of a queued task \(B\) \| 100 \| 2 \| 50x/, "less is better");
  t.match(text, /\| single client tasks sync \(\/s\) \| 50 \| 5,000 \| 100x \|/, "Dask's table");
  t.match(text, /\| single client tasks sync \| polyray-py \| 5 \| 9 \| 10 \| 10 \| 10 \|/);
  t.match(text, /\| single client tasks sync \| 250 \| 10,000 \| 20,000 \|/, "processor time");
  t.match(text, /\| polyray-py \| 61 \| 200 \| 300 \| 4 \| 90 \| 50 \| 0\.5 \| 12\.0 \|/);
  t.match(text, /### actors/);
});

t.test("pictures have a point for each ratio and each load", async (t) => {
  const ratios = ratioSpec(sample(), rows) as { data: { values: unknown[] } };
  t.same(ratios.data.values, [
    { row: "memory of a queued task", who: "Python", ratio: 50, goal: null },
    { row: "single client tasks sync", who: "Python", ratio: 50, goal: 40 },
  ]);
  const growth = growthSpec(sample()) as { data: { values: { panel: string }[] } };
  t.same(
    growth.data.values.map(({ panel }) => panel),
    ["actors: start, us", "actors: start, us", "actors: memory, bytes"],
    "a logarithmic axis has no place for what is not positive",
  );
  t.equal(ratioSpec(new Results(), rows), null);
  t.equal(growthSpec(new Results()), null);
});

t.test("calls of strace count once, and only within the window", async (t) => {
  const text = [
    "[pid 12] 100.100000 read(3, <unfinished ...>",
    "[pid 13] 101.000000 futex(0x1, FUTEX_WAIT, 2, NULL <unfinished ...>",
    '[pid 12] 101.100000 <... read resumed>"x", 1) = 1',
    "101.200000 write(1, 1) = 1",
    "103.000000 write(1, 1) = 1",
    "strace: Process 12 detached",
  ].join("\n");
  t.equal(callsWithin(text, 101, 103), 2);
  t.equal(callsWithin("", 0, 1), 0);
});

t.test("--growth runs curves alone, --write both; together they are refused", async (t) => {
  t.same(benchOptions([])?.parts, ["rows"]);
  t.same(benchOptions(["--growth"])?.parts, ["growth"]);
  t.same(benchOptions(["--write"])?.parts, ["rows", "growth"]);
  t.throws(() => benchOptions(["--growth", "--write"]), /leave --growth out/);
  t.throws(() => benchOptions(["--growth", "--rows", "wait 1k"]), /no row's name contains/);
  t.same(
    benchOptions(["--growth", "--rows", "live"])?.growth.map(({ name }) => name),
    ["live objects"],
  );
  t.ok(benchOptions(["--peer", "dask"])?.contestants.includes("dask"));
});

t.test("parts of names choose among rows of any kind", async (t) => {
  t.same(
    selectRows(["memory of"]).map(({ name }) => name),
    ["memory of a queued task"],
  );
});
