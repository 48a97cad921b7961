// SPDX-License-Identifier: Apache-2.0
//
// `npm run bench`: polyray and its peers in turn, round after round, on the rows of
// docs/performance.md. `--help` lists the options. Standard output has the report (or JSON),
// standard error the progress. The exit code is 1 when a row of ours failed.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, runRows } from "./child.ts";
import { growthProgram, rowProgram, rowsOf, startProgram } from "./contestants.ts";
import { runGrowth } from "./growth.ts";
import { install, places, say } from "./install.ts";
import { load, machine } from "./machine.ts";
import { type BenchOptions, benchOptions, type Contestant } from "./options.ts";
import { draw, growthSpec, ratioSpec } from "./plots.ts";
import { report } from "./report.ts";
import { Results } from "./results.ts";
import { measureStart } from "./startup.ts";
import { latencyRows, startRow } from "./table.ts";

const rowWatchdogS = { quick: 60, full: 240 };

async function round(options: BenchOptions, results: Results, label: string): Promise<boolean> {
  let failed = false;
  const note = (contestant: Contestant, row: string, outcome: Outcome) => {
    results.add(contestant, row, outcome);
    if (outcome.kind !== "value")
      say(`  ${contestant}, ${row}: ${outcome.kind}: ${outcome.reason}`);
    if (outcome.kind === "failed" && contestant.startsWith("polyray")) failed = true;
  };
  for (const contestant of options.contestants) {
    const rows = rowsOf(contestant, options.rows);
    if (rows.length > 0) {
      say(`${label} ${contestant}: ${rows.length} rows`);
      const program = rowProgram(contestant);
      const flags = ["--warmup-s", `${options.warmupS}`, "--window-s", `${options.windowS}`];
      flags.push("--latency-rows", JSON.stringify(latencyRows));
      if (options.quick) flags.push("--quick");
      const watchdogS = options.quick ? rowWatchdogS.quick : rowWatchdogS.full;
      const timed = { ...program, args: [...program.args, ...flags] };
      const { version, outcomes, notes } = await runRows(timed, rows, watchdogS);
      if (version !== "") results.versions[contestant] = version;
      for (const { row, text } of notes) results.notes.set(`${contestant}, ${row}`, text);
      for (const [row, outcome] of outcomes) note(contestant, row, outcome);
    }
    const start = startProgram(contestant);
    if (start === null || !options.rows.some(({ name }) => name === startRow)) continue;
    say(`${label} ${contestant}: start`);
    try {
      const measured = await measureStart(start);
      results.addStart(contestant, measured);
      note(contestant, startRow, { kind: "value", value: measured.firstResultMs });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      note(contestant, startRow, { kind: "failed", reason });
    }
  }
  return failed;
}

async function growth(options: BenchOptions, results: Results): Promise<boolean> {
  for (const contestant of options.contestants) {
    const program = growthProgram(contestant);
    if (program === null) continue;
    say(`${contestant}: growth of ${options.growth.length} rows`);
    results.growth.push(...(await runGrowth(contestant, program, options.growth, options.quick)));
  }
  for (const { contestant, row, failed } of results.growth) {
    if (failed !== null) say(`  ${contestant}, ${row}: failed: ${failed}`);
  }
  return results.growth.some(({ failed }) => failed !== null);
}

function settings({ rounds, warmupS, windowS, quick }: BenchOptions): string {
  const count = rounds === 1 ? "1 round" : `${rounds} rounds (medians)`;
  const smaller = quick ? ", smaller batches (--quick)" : "";
  return `${count}, ${warmupS} s warm-up and ${windowS} s measured per row${smaller}.`;
}

/** Writes bench/RESULTS.md and the pictures. */
async function write(text: string, results: Results, options: BenchOptions): Promise<void> {
  const specs = {
    "ratios.svg": ratioSpec(results, options.rows),
    "growth.svg": growthSpec(results),
  };
  mkdirSync(places.plots, { recursive: true });
  for (const [name, spec] of Object.entries(specs)) {
    if (spec !== null) writeFileSync(join(places.plots, name), await draw(spec));
  }
  const opening = "<!-- Written by `npm run bench -- --write`. -->\n# Results of the benchmark\n\n";
  writeFileSync(join(places.root, "bench", "RESULTS.md"), opening + text);
  say("bench/RESULTS.md and bench/plots are written");
}

async function main(): Promise<number> {
  const options = benchOptions(process.argv.slice(2));
  if (options === null) return 0;
  install(options.parts.includes("rows") ? options.contestants : [], options.write);
  const results = new Results();
  results.date = new Date().toISOString().slice(0, 10);
  results.machine = machine();
  results.settings = settings(options);
  results.loadBefore = load();
  let failed = false;
  const rounds = options.parts.includes("rows") ? options.rounds : 0;
  for (let i = 1; i <= rounds; i++) {
    failed = (await round(options, results, `[${i}/${rounds}]`)) || failed;
  }
  if (options.parts.includes("growth")) failed = (await growth(options, results)) || failed;
  results.loadAfter = load();
  const text = report(results, options.rows);
  console.log(options.json ? JSON.stringify(results, null, 2) : text);
  if (options.write) await write(text, results, options);
  return failed ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
