// SPDX-License-Identifier: Apache-2.0
//
// Goal: `npm run demo` works from end to end, its report is true to what it claims, and it leaves
// nothing behind, whether it ends by itself or is killed while Spark runs. Method: run the command as
// a user would, read its output, then look for what carries its session's id. POLYRAY_DEMO_RUNS=2
// runs it twice in a row.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";

t.setTimeout(540_000); // a watchdog: the first run in a fresh clone also fetches Spark
t.jobs = 1;

const runs = Number(process.env.POLYRAY_DEMO_RUNS ?? 1);
const models = 6;
const dataSets = 2;
const tasks = dataSets * 2 * models * 3; // partitions, models, folds

interface Running {
  readonly child: ChildProcess;
  text(): string;
}

function startDemo(): Running {
  // As from a user's shell: without the preloads that tap gives its children.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS|_?TAP_?)/.test(name)),
  );
  const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
  const child = spawn(process.execPath, ["scripts/demo.mjs"], { env, stdio });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      text += part;
    });
  }
  return { child, text: () => text };
}

/** The lines of a section of the report, split where two blanks or more are. */
function section(report: string, title: string): string[][] {
  const lines = report.split("\n");
  const begin = lines.findIndex((line) => line.startsWith(title)) + 1;
  const end = lines.findIndex((line, at) => at >= begin && !line.startsWith("  "));
  return lines.slice(begin, end).map((line) => line.trim().split(/ {2,}/));
}

function pidsOf(row: readonly string[]): number[] {
  return (row[2] ?? "").replace("pid ", "").split(", ").map(Number);
}

function sessionOf(text: string): string {
  return /node session:([0-9a-f]{8,})/.exec(text)?.[1] ?? "";
}

/** Whatever of a session is still there: processes with its mark, sockets, folders. */
function leftOf(session: string): string[] {
  if (session === "") throw new Error("no session was started");
  const left = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => line.includes(session));
  for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
    try {
      if (readFileSync(`/proc/${name}/environ`, "latin1").includes(session)) {
        left.push(`process ${name}: ${readFileSync(`/proc/${name}/cmdline`, "latin1")}`);
      }
    } catch {
      // it ended, or is not ours
    }
  }
  const folders = [tmpdir(), "/dev/shm", join(tmpdir(), `polyray-${process.getuid?.()}`)];
  for (const folder of folders.filter((each) => existsSync(each))) {
    left.push(...readdirSync(folder).filter((name) => name.includes(session)));
  }
  return left;
}

/** Nothing is left, at the latest after ten seconds. */
async function assertNothingLeft(t: Test, session: string): Promise<void> {
  for (let left = 50; left > 0 && leftOf(session).length > 0; left--) await sleep(200);
  t.strictSame(leftOf(session), [], "no process, socket or folder of the session is left");
}

function checkModels(t: Test, report: string): void {
  const rows = section(report, "Accuracy").slice(1);
  t.equal(rows.length, models * dataSets, "a line for each model and data set");
  for (const [data, model, python, typescript] of rows) {
    t.equal(typescript, python, `${model} on ${data}: both languages count the same`);
  }
  const best = Number.parseFloat(rows.find(([data]) => data === "digits")?.[2] ?? "");
  t.ok(best > 95 && best < 100, `the best model on digits is right in ${best} % of the rows`);
  const matrix = section(report, "Confusion matrix").slice(1);
  t.equal(matrix.length, 10, "a line for each digit");
  const counted = matrix.flatMap((row) => row.slice(1)).map((cell) => Number(cell) || 0);
  t.equal(
    counted.reduce((a, b) => a + b, 0),
    1797,
    "the confusion matrix counts every row of the data set",
  );
}

function checkProcesses(t: Test, report: string): void {
  const rows = section(report, "Who ran where");
  const pids = rows.flatMap(pidsOf);
  t.equal(rows.length, 8, "eight roles");
  t.ok(
    pids.every((pid) => Number.isInteger(pid) && pid > 1),
    "each with its processes",
  );
  t.equal(new Set(pids).size, pids.length, "no process has two roles");
}

function checkBytes(t: Test, report: string): void {
  const rows = section(report, "Read in place").slice(1);
  const reads = rows.map((row) => Number(row[1]));
  t.strictSame(reads, [tasks, models * dataSets, 1], "every reader read in place");
  const megabytes = rows.map((row) => Number.parseFloat(row[2] ?? ""));
  // 50 rows of 692 and 898 or 899 rows of 64 doubles, each read by 18 tasks, for two partitions each.
  const features = (100 * 692 + 1797 * 64) * 8 * (tasks / 4);
  t.equal(megabytes[0], Number((features / 1e6).toFixed(2)), "the rows' bytes");
  const table = megabytes[2] ?? 0;
  t.ok(Math.abs((megabytes[1] ?? 0) - 12 * table) < 0.1, "the table's bytes, twelve times");
}

for (let run = 1; run <= runs; run++) {
  t.test(`the demo runs to its end (run ${run})`, async (t) => {
    const demo = startDemo();
    const [code] = (await once(demo.child, "close")) as [number | null];
    const report = demo.text();
    if (!t.equal(code, 0, "exit code")) {
      t.comment(report);
      return;
    }
    checkModels(t, report);
    checkProcesses(t, report);
    checkBytes(t, report);
    t.match(report, /24 rows and 24 pickled models .* read back, equal/, "Parquet round trip");
    t.match(report, /train digits: .*100 %/, "progress was shown while it ran");
    t.notMatch(report, /Traceback|WARN|ERROR|Unhandled/, "nothing alarming was printed");
    await assertNothingLeft(t, sessionOf(report));
  });
}

t.test("a demo that is killed while Spark runs leaves nothing", async (t) => {
  const demo = startDemo();
  const closed = once(demo.child, "close");
  const javaOf = (session: string) =>
    session === "" ? [] : leftOf(session).filter((each) => each.includes("java"));
  // Spark's start script runs a short-lived Java first: what counts is that one was seen.
  let java: string[] = [];
  while (java.length === 0 && demo.child.exitCode === null) {
    await sleep(100);
    java = javaOf(sessionOf(demo.text()));
  }
  const session = sessionOf(demo.text());
  t.not(session, "", "polyray runs");
  t.not(java.length, 0, "so does Spark's Java");
  const driver = driverOf(demo.child.pid as number);
  t.not(driver, null, "the driver is found");
  process.kill(driver as number, "SIGKILL");
  await closed;
  t.not(demo.child.exitCode, 0, "the command fails");
  await assertNothingLeft(t, session);
});

/** The program that scripts/demo.mjs runs: its child. */
function driverOf(parent: number): number | null {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim();
  return children === "" ? null : Number(children.split(" ")[0]);
}
