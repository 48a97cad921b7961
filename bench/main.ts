// SPDX-License-Identifier: Apache-2.0
//
// `npm run bench`: polyray and its peers in turn, round after round, on the rows of
// docs/performance.md. `--help` lists the options. Standard output has the report (or JSON),
// standard error the progress. The exit code is 1 when a row of ours failed.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, runRows } from "./child.ts";
import { rowProgram, rowsOf, startProgram } from "./contestants.ts";
import { install, places, say } from "./install.ts";
import { load, machine } from "./machine.ts";
import { type BenchOptions, benchOptions, type Contestant } from "./options.ts";
import { report } from "./report.ts";
import { Results } from "./results.ts";
import { measureStart } from "./startup.ts";
import { startRow } from "./table.ts";

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

async function main(): Promise<number> {
  const options = benchOptions(process.argv.slice(2));
  if (options === null) return 0;
  install(options.contestants);
  const results = new Results();
  results.date = new Date().toISOString().slice(0, 10);
  results.machine = machine();
  results.settings = `${options.rounds} ${options.rounds === 1 ? "round" : "rounds"}${options.rounds === 1 ? "" : " (medians)"}, ${options.warmupS} s warm-up and ${options.windowS} s measured per row${options.quick ? ", smaller batches (--quick)" : ""}.`;
  results.loadBefore = load();
  let failed = false;
  for (let i = 1; i <= options.rounds; i++) {
    failed = (await round(options, results, `[${i}/${options.rounds}]`)) || failed;
  }
  results.loadAfter = load();
  const text = report(results, options.rows);
  console.log(options.json ? JSON.stringify(results, null, 2) : text);
  if (options.write) {
    const opening =
      "<!-- Written by `npm run bench -- --write`. -->\n# Results of the benchmark\n\n";
    writeFileSync(join(places.root, "bench", "RESULTS.md"), opening + text);
    say("bench/RESULTS.md is written");
  }
  return failed ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
