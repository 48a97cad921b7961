// SPDX-License-Identifier: Apache-2.0
//
// `npm test [-- --only ts,python] [-k WORD] [--sanitize address|thread] [FILE ...]` (--help says
// more): sets up, runs the suites, prints a summary and, as its last line,
// `N passed, N failed[, N skipped]`.
// Fails when a test failed, when a suite ran no test, or when a watchdog ended one.

import { parseArgs } from "node:util";
import { BuildError } from "./build.mjs";
import { main, SetupError, step } from "./lib/log.mjs";
import { suites } from "./lib/suites.mjs";
import { setup } from "./setup.mjs";

const usage = `npm test [-- OPTION ... FILE ...]

  --only SUITE,...   these suites: ${suites.map((suite) => suite.name).join(", ")}
  -k WORD            tests whose name (native, python) or file (ts) has the word
  --sanitize WHICH   the native tests in a build of their own, with checks of memory and undefined
                     behaviour (address) or of data races (thread)
  FILE ...           these test files
`;

function choose(only, files) {
  const inferred =
    files.length > 0 && only.length === 0
      ? [...new Set(files.map((path) => /(?:^|\/)test\/([a-z]+)\//.exec(path)?.[1] ?? "ts"))]
      : only;
  const unknown = inferred.filter((name) => !suites.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    throw new SetupError(
      `no such suite: ${unknown.join(", ")}`,
      `Suites: ${suites.map((suite) => suite.name).join(", ")}`,
    );
  }
  return suites.filter((suite) =>
    inferred.length > 0 ? inferred.includes(suite.name) : suite.required || suite.exists(),
  );
}

async function setUpFor(chosen) {
  const names = chosen.map((suite) => suite.name);
  const nativeOnly = names.length === 1 && names[0] === "native";
  await setup({
    groups: ["build", ...(nativeOnly ? [] : ["test"])],
    steps: nativeOnly ? ["native"] : undefined,
    nativeTests: names.includes("native"),
  });
}

async function runSuite(suite, options) {
  step(`suite ${suite.name}`);
  const begun = performance.now();
  let counts;
  try {
    counts = await suite.run({ ...options, timeoutS: suite.timeoutS });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.log(`suite ${suite.name}: ${error.message}`);
    counts = { passed: 0, failed: 1, skipped: 0 };
  }
  if (counts.passed + counts.failed + counts.skipped === 0 && !options.filter) {
    console.log(`suite ${suite.name} ran no test`);
    counts = { ...counts, failed: 1 };
  }
  return { ...counts, name: suite.name, seconds: (performance.now() - begun) / 1000 };
}

const closing = ({ passed, failed, skipped }) =>
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;

await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: "string", multiple: true, default: [] },
      k: { type: "string", short: "k" },
      sanitize: { type: "string", default: "" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  if (!["", "address", "thread"].includes(values.sanitize))
    throw new SetupError(`no such sanitizer: ${values.sanitize}`, "Give address or thread.");
  const only = values.only.flatMap((names) => names.split(","));
  const chosen = choose(only, positionals);
  const results = [];
  try {
    await setUpFor(chosen);
  } catch (error) {
    // A broken part (say a type error) fails the run, but what was built is tested all the same.
    if (!(error instanceof BuildError)) throw error;
    console.error(`error: ${error.message}`);
    results.push({ name: "build", passed: 0, failed: error.steps.length, skipped: 0, seconds: 0 });
  }
  for (const suite of chosen) {
    results.push(
      await runSuite(suite, {
        filter: values.k,
        files: positionals,
        sanitize: values.sanitize,
      }),
    );
  }
  console.log("");
  for (const result of results) {
    console.log(`${result.name.padEnd(10)} ${closing(result)}  (${result.seconds.toFixed(1)} s)`);
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const result of results) for (const key of Object.keys(total)) total[key] += result[key];
  console.log(closing(total));
  return total.failed > 0 || total.passed === 0 ? 1 : 0;
});
