// SPDX-License-Identifier: Apache-2.0
// Goal: lines of workers are whole, prefixed once and folded when they repeat.
// Method: a LogTailer over a scratch folder, read by flush(); a LineFolder with a hand-driven clock.

import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { LineFolder, LogTailer } from "../../../ts/node/logs.ts";

t.test("a tailer gives whole lines, also of text that arrives in pieces", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "polyray-logs-"));
  const got: string[] = [];
  const tailer = new LogTailer(dir, (source, stream, lines) =>
    got.push(...lines.map((line) => `${source.name} ${stream} ${line}`)),
  );
  tailer.add({ token: 7n, job: 1, pid: 99, name: "ts" });
  const { out, err } = tailer.files(7n);
  const bytes = Buffer.from("höl\nworld");
  appendFileSync(out, bytes.subarray(0, 2)); // cuts the two bytes of ö
  appendFileSync(err, "oops\n");
  appendFileSync(out, bytes.subarray(2));
  t.same(tailer.remove(7n), ["höl", "world", "oops"], "the last lines, for error texts");
  t.same(got.sort(), ["ts err oops", "ts out höl", "ts out world"]);
  tailer.close();
  rmSync(dir, { recursive: true, force: true });
});

t.test("equal lines of several workers are folded with a count", async (t) => {
  const written: string[] = [];
  const timers: (() => void)[] = [];
  const folder = new LineFolder(
    (line) => written.push(line),
    (run) => timers.push(run),
  );
  folder.line("(a pid=1)", "same");
  folder.line("(a pid=2)", "same");
  folder.line("(a pid=3)", "same");
  folder.line("(a pid=3)", "other");
  t.same(written, ["(a pid=1) same", "(a pid=3) other"]);
  for (const run of timers.splice(0)) run();
  t.same(written.slice(2), ["(a pid=3) same [repeated 2x]"]);
  folder.line("(a pid=4)", "same");
  t.equal(written.at(-1), "(a pid=4) same", "after the window it is told again");
});
