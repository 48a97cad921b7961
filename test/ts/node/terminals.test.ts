// SPDX-License-Identifier: Apache-2.0
// Goal: a driver's terminal that nobody reads never blocks the node service, and what it missed is counted.
// Method: a FIFO whose reader does not read gets more lines than it holds; then it is read, and again written.

import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { Terminals } from "../../../ts/node/terminals.ts";

t.test("a terminal that is not read drops lines and tells how many", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "polyray-terminal-"));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, "fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const terminals = new Terminals();
  terminals.add(1, openSync(path, constants.O_WRONLY), openSync("/dev/null", constants.O_WRONLY));
  const source = { token: 1n, job: 1, pid: 42, name: "f" };
  const line = "x".repeat(1000);
  for (let i = 0; i < 6000; i++) terminals.lines(source, "out", [`${i} ${line}`]); // 6 MB: beyond pipe and queue
  t.pass("the service went on");
  const chunk = Buffer.alloc(256 * 1024);
  let text = "";
  const end = Date.now() + 20_000;
  while (!/lines of workers were dropped/.test(text) && Date.now() < end) {
    try {
      text = (text + chunk.toString("latin1", 0, readSync(reader, chunk))).slice(-500_000);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.match(text, /\(polyray\) \d+ lines of workers were dropped/);
  terminals.close();
  closeSync(reader);
});
