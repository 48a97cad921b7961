// SPDX-License-Identifier: Apache-2.0
//
// Runs the tidy checks; prints `ok NAME` or `not ok NAME` with the findings below it. Exit code 1
// when one failed. `npm run tidy` runs this, and so does `npm test`.

import { checkSources } from "../../scripts/lib/sources.mjs";

const { missing, unlisted } = checkSources();
const problems = [...missing.map((path: string) => `${path}: listed but missing`), ...unlisted.map((path: string) => `${path}: not in native/sources.txt`)];
console.log(`${problems.length === 0 ? "ok" : "not ok"} native/sources.txt lists every source`);
for (const problem of problems) console.log(`    ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;
