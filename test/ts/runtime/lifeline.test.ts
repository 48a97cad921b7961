// SPDX-License-Identifier: Apache-2.0
// Goal: a head that belongs to a driver (cli/embedded.ts) ends at SIGTERM and at the end of its lifeline, whether that is a
// pipe or a socket, and blocking or not; one that cannot load its addon says so and ends. Nothing of it is left.
// Method: the program in a process of its own; its standard input is the lifeline.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

t.setTimeout(180_000); // many processes start

const program = fileURLToPath(new URL("../../../dist/cli/embedded.js", import.meta.url));
const python = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
const flags = ["--num-cpus", "1", "--lifeline-fd", "0", "--ready-fd", "3"];

function sessions(scratch: string): string[] {
  const [user = ""] = readdirSync(scratch).filter((entry) => entry.startsWith("polyray-"));
  return readdirSync(join(scratch, user)).filter((entry) => entry.startsWith("session-"));
}

const lifelines: Record<string, (folder: string) => { stdin: "pipe" | number; close: () => void }> =
  {
    "a socket": () => ({ stdin: "pipe", close: () => undefined }), // Node's pipes are sockets
    "a pipe": (folder) => {
      const path = join(folder, "lifeline");
      execFileSync("mkfifo", [path]);
      const both = openSync(path, constants.O_RDWR);
      const stdin = openSync(path, constants.O_RDONLY);
      return { stdin, close: () => closeSync(both) };
    },
  };

for (const [name, make] of Object.entries(lifelines))
  for (const ending of ["SIGTERM", "the end of the lifeline"])
    t.test(`${name}: the head ends by ${ending}`, async (t) => {
      const scratch = mkdtempSync(join(tmpdir(), "polyray-lifeline-"));
      t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
      const { stdin, close } = make(scratch);
      const child: ChildProcess = spawn(process.execPath, [program, ...flags], {
        stdio: [stdin, "ignore", "inherit", "pipe"],
        env: { ...process.env, POLYRAY_TMPDIR: scratch },
      });
      t.teardown(() => child.kill("SIGKILL"));
      if (typeof stdin === "number") closeSync(stdin);
      const ended = new Promise((resolve) => {
        child.once("exit", (code, signal) => resolve([code, signal]));
      });
      const ready = new Promise((resolve) => child.stdio[3]?.once("data", () => resolve("ready")));
      t.equal(await Promise.race([ready, ended]), "ready");
      if (ending === "SIGTERM") child.kill("SIGTERM");
      else {
        child.stdin?.end();
        close();
      }
      t.same(await ended, [0, null]);
      if (ending === "SIGTERM") close();
      t.same(sessions(scratch), []);
    });

t.test("a head without its addon says so and ends, while its lifeline is open", async (t) => {
  const scratch = mkdtempSync(join(tmpdir(), "polyray-lifeline-"));
  t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
  const child = spawn(process.execPath, [program, ...flags, "--python", python], {
    stdio: ["pipe", "ignore", "pipe", "pipe"],
    env: { ...process.env, POLYRAY_TMPDIR: scratch, POLYRAY_NATIVE: join(scratch, "none.node") },
  });
  t.teardown(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr?.on("data", (bytes: Buffer) => {
    said += String(bytes);
  });
  t.equal(await new Promise((resolve) => child.once("close", resolve)), 1);
  t.match(said, /none\.node: no such file/);
  t.same(sessions(scratch), []);
});
