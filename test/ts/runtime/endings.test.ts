// SPDX-License-Identifier: Apache-2.0
// Goal: after a driver of an embedded runtime ends in any way, no process, socket or session folder is left.
// Method: a real driver process with an actor, a running task and a grandchild in a session of its own; then return,
// process.exit, an uncaught error, SIGKILL (also while its main loop is blocked); then /proc and the session root are read.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { isAlive, socketsOf, until } from "../mixed/support.ts";

const driver = fileURLToPath(new URL("./fixtures/ending-driver.ts", import.meta.url));

interface Told {
  readonly pids: number[];
  readonly address: string;
}

for (const ending of ["return", "exit", "error", "kill", "busy"]) {
  t.test(`ending by ${ending} leaves nothing`, async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), "polyray-ending-"));
    t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
    const child = spawn(process.execPath, ["--import", "tsx", driver, ending], {
      env: { ...process.env, POLYRAY_TMPDIR: scratch },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let errors = "";
    child.stderr.on("data", (bytes: Buffer) => {
      errors += bytes.toString();
    });
    const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    const told = await new Promise<Told>((resolve, reject) => {
      let text = "";
      child.stdout.on("data", (bytes: Buffer) => {
        text += bytes.toString();
        const end = text.indexOf("\n");
        if (end >= 0) resolve(JSON.parse(text.slice(0, end)) as Told);
      });
      child.once("exit", () => reject(new Error(`the driver ended early: ${errors}`)));
    });
    if (ending === "kill" || ending === "busy") {
      for (const pid of told.pids) t.ok(isAlive(pid), `process ${pid} lives before the kill`);
      child.kill("SIGKILL");
    }
    const end = await exited;
    if (ending === "return") t.equal(end.code, 0, errors);
    if (ending === "exit") t.equal(end.code, 3);
    if (ending === "error") t.match(errors, /the driver's own error/);
    const sessionId = told.address.replace("session:", "");
    await until(
      () => told.pids.every((pid) => !isAlive(pid)),
      `processes ${told.pids.filter(isAlive)} still live`,
    );
    await until(() => socketsOf(sessionId).length === 0, "a socket is left");
    await until(
      () => sessionFolders(scratch).length === 0,
      `session folders are left: ${sessionFolders(scratch)}`,
    );
    t.pass("no process, socket or session folder is left");
  });
}

function sessionFolders(scratch: string): string[] {
  return readdirSync(scratch).flatMap((user) => {
    const folder = join(scratch, user);
    return existsSync(folder) ? readdirSync(folder) : [];
  });
}
