// SPDX-License-Identifier: Apache-2.0
//
// The test suites and how each is run and counted. A suite resolves with
// { passed, failed, skipped, note? }; it streams its output as it goes.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { must, run, which } from "./exec.mjs";
import { withBuildLock } from "./lock.mjs";
import { findCmake } from "./needs.mjs";
import { at, buildDir, nodeBin, root, venvPython } from "./paths.mjs";
import { filesBelow, hashOf } from "./stamp.mjs";
import { buildNative, nativeLayout } from "./step-native.mjs";
import { tapStream } from "./tap-stream.mjs";

const reports = join(buildDir, "reports");
const sanitizedFactor = 3; // a sanitizer makes programs about that much slower
const isTapTest = (path) => path.endsWith(".test.ts") && !path.includes("/fixtures/");
const isPytest = (path) => /(^|\/)(test_[^/]*|[^/]*_test)\.py$/.test(path);
const under = (folder, accept) =>
  filesBelow(at("test", folder), accept).map((path) => relative(root, path));

/** Suites in the order in which they run; `folder` suites run if the folder has tests. */
export const suites = [
  { name: "tidy", required: true, timeoutS: 300, run: runTidy },
  { name: "native", required: true, timeoutS: 900, run: runNative },
  { name: "ts", required: true, timeoutS: 1500, run: (options) => runTap("ts", options) },
  {
    name: "python",
    required: true,
    timeoutS: 1200,
    run: (options) => runPytest("python", options),
  },
  ...["contract", "sim", "examples", "cluster", "chaos"].map((folder) => ({
    name: folder,
    timeoutS: 600,
    exists: () => under(folder, isTapTest).length + under(folder, isPytest).length > 0,
    run: (options) => runBoth(folder, options),
  })),
];

function reportPath(name) {
  const path = join(reports, name);
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  return path;
}

const sum = (a, b) => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: a.skipped + b.skipped,
});
const none = { passed: 0, failed: 0, skipped: 0 };

// A run that ended badly without a failed test (crash, watchdog) is one failure.
function settle(counts, code, what) {
  if (code === 0 || counts.failed > 0) return counts;
  console.log(`${what} ended with code ${code}${code === 124 ? " (watchdog)" : ""}`);
  return { ...counts, failed: 1 };
}

async function runTidy({ timeoutS }) {
  const counts = { ...none };
  const onLine = (line) => {
    console.log(line);
    if (/^ok /.test(line)) counts.passed += 1;
    if (/^not ok /.test(line)) counts.failed += 1;
    if (/^skip /.test(line)) counts.skipped += 1;
  };
  const code = await run(process.execPath, ["--import", "tsx", "test/tidy/main.ts"], {
    timeoutS,
    onLine,
  });
  return settle(counts, code, "tidy");
}

async function runNative({ timeoutS, filter, sanitize = "" }) {
  await withBuildLock(() => buildNative({ tests: true, sanitize }));
  const report = reportPath("ctest.xml");
  const cmake = findCmake();
  const beside = join(dirname(cmake), "ctest");
  const ctest = existsSync(beside) ? beside : which("ctest");
  const args = [
    "--test-dir",
    nativeLayout(sanitize).workDir,
    "-j2",
    "--output-on-failure",
    "--output-junit",
    report,
  ];
  const onLine = (line) => {
    if (!/^\s*Start\s+\d+: |^\s*\d+\/\d+ Test .*\bPassed\b/.test(line)) console.log(line);
  };
  const code = await run(ctest, filter ? [...args, "-R", filter] : args, {
    timeoutS: sanitize === "" ? timeoutS : timeoutS * sanitizedFactor,
    onLine,
  });
  return settle(junitCounts(report), code, "ctest");
}

async function runPytest(folder, { timeoutS, filter, files }) {
  const report = reportPath(`pytest-${folder}.xml`);
  const paths = files?.length ? files : [at("test", folder)];
  const args = [
    "-m",
    "pytest",
    "-q",
    "-rs",
    "-p",
    "no:cacheprovider",
    "--rootdir",
    root,
    "--junitxml",
    report,
    ...paths,
  ];
  const code = await run(venvPython, filter ? [...args, "-k", filter] : args, { timeoutS });
  return settle(junitCounts(report), code === 5 ? 0 : code, "pytest");
}

async function runTap(folder, { timeoutS, filter, files }) {
  const paths = files?.length
    ? files
    : under(folder, isTapTest).filter((path) => !filter || path.includes(filter));
  if (paths.length === 0) return none;
  await ensureTapPlugins();
  const stream = tapStream();
  const code = await run(nodeBin("tap"), ["run", "--reporter=tap", ...paths], {
    timeoutS,
    onStdout: stream.line,
  });
  return settle(stream.end(), code, "tap");
}

// tap generates its test class from the plugins of .taprc; doing that during a run fails the run.
async function ensureTapPlugins() {
  const mark = at("node_modules", ".polyray-tap");
  const wanted = hashOf([at(".taprc"), at("package-lock.json")]);
  if (existsSync(mark) && readFileSync(mark, "utf8") === wanted) return;
  await must(nodeBin("tap"), ["build"]);
  writeFileSync(mark, wanted);
}

async function runBoth(folder, options) {
  let counts = none;
  const wants = (accept) =>
    (options.files?.length ? options.files : under(folder, accept)).filter(accept);
  if (wants(isTapTest).length > 0)
    counts = sum(
      counts,
      await runTap(folder, { ...options, files: options.files?.filter(isTapTest) }),
    );
  if (wants(isPytest).length > 0)
    counts = sum(
      counts,
      await runPytest(folder, { ...options, files: options.files?.filter(isPytest) }),
    );
  return counts;
}

// Counts of a JUnit file (ctest and pytest write one): the attributes of its suites.
function junitCounts(path) {
  if (!existsSync(path)) return none;
  let counts = none;
  for (const [tag] of readFileSync(path, "utf8").matchAll(/<testsuite\s[^>]*>/g)) {
    const number = (name) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(tag)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    const skipped = number("skipped") + number("disabled");
    counts = sum(counts, { passed: number("tests") - failed - skipped, failed, skipped });
  }
  return counts;
}
