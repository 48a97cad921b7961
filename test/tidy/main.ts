// SPDX-License-Identifier: Apache-2.0
//
// Runs the tidy checks and prints `ok TITLE`, `not ok TITLE` with the findings below it, or
// `skip TITLE`. Exit code 1 when one failed. `npm run tidy` runs this, and so does `npm test`.
// Words as arguments select the checks whose titles contain one of them.

import { linterChecks } from "./linters.ts";
import type { Check } from "./report.ts";
import { largeFiles, treeChecks } from "./tree-checks.ts";

const shownFindings = 40;

async function runCheck({ title, run }: Check): Promise<boolean> {
  const findings = await run();
  if (findings === null) {
    console.log(`skip ${title}: its tool is not installed`);
    return true;
  }
  console.log(`${findings.length === 0 ? "ok" : "not ok"} ${title}`);
  for (const finding of findings.slice(0, shownFindings)) console.log(`    ${finding}`);
  if (findings.length > shownFindings)
    console.log(`    ... and ${findings.length - shownFindings} more`);
  return findings.length === 0;
}

const words = process.argv.slice(2);
const chosen = [...treeChecks, ...linterChecks].filter(
  ({ title }) =>
    words.length === 0 || words.some((word) => title.toLowerCase().includes(word.toLowerCase())),
);
let failed = 0;
for (const check of chosen) if (!(await runCheck(check))) failed += 1;
if (words.length === 0) for (const line of largeFiles()) console.log(`large: ${line}`);
process.exitCode = failed === 0 ? 0 : 1;
