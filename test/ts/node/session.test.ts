// SPDX-License-Identifier: Apache-2.0
// Goal: sessions are found by address, stale ones are not, and errors say what is there.
// Method: session folders in a scratch POLYRAY_TMPDIR, with this process as the node's pid.

import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import {
  createSession,
  findSession,
  listSessions,
  publishSession,
  removeSession,
} from "../../../ts/node/session.ts";

const scratch = mkdtempSync(join(tmpdir(), "polyray-test-"));
process.env.POLYRAY_TMPDIR = scratch;
t.teardown(() => rmSync(scratch, { recursive: true, force: true }));

function publish(address: string, pid: number, startedAtMs: number): string {
  const session = createSession();
  publishSession(session.sessionDir, {
    sessionId: session.sessionId,
    address,
    socketName: session.socketName,
    pid,
    version: "0.1.0",
    startedAtMs,
    nodeId: "n",
    namespace: "",
    embedded: false,
  });
  return session.sessionDir;
}

t.test("the token file is for its owner alone", async (t) => {
  const session = createSession();
  t.equal(statSync(join(session.sessionDir, "token")).mode & 0o777, 0o600);
  t.equal(statSync(session.sessionDir).mode & 0o777, 0o700);
  removeSession(session.sessionDir);
});

t.test("auto finds the newest live session, an address its own", async (t) => {
  publish("127.0.0.1:7001", process.pid, 1);
  publish("127.0.0.1:7002", process.pid, 2);
  publish("127.0.0.1:7003", 2 ** 22 + 12345, 3); // no such process
  t.equal(findSession("auto").address, "127.0.0.1:7002");
  t.equal(findSession("localhost:7001").address, "127.0.0.1:7001");
  t.equal(listSessions().length, 2, "a session without its process is stale");
});

t.test("an unknown address is refused with what is running and what to do", async (t) => {
  t.throws(() => findSession("127.0.0.1:9"), {
    message: /127\.0\.0\.1:9.*running: .*7002.*polyray start --head/,
  });
});
