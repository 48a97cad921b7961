// SPDX-License-Identifier: Apache-2.0
// Goal: a process that embeds a node ends however it wants, with its own exit code, and leaves
// nothing.
// Method: fixtures/exits.ts ends in one of many ways; its socket and session folder are looked for
// afterwards.

import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { loadNative } from "../../../ts/native/load.ts";
import { forkFixture, messageOf, openStore, startNode, until } from "./harness.ts";

const ways: Record<string, number | "SIGKILL" | "SIGTERM"> = {
  detach: 0,
  return: 0,
  pendingGet: 13, // a top-level await on something that can never come, with the loop not held
  exit: 7,
  exitInSink: 5,
  throws: 1,
  thread: 0,
  SIGTERM: "SIGTERM",
  SIGKILL: "SIGKILL",
};

for (const [way, expected] of Object.entries(ways)) {
  t.test(`ends by ${way}`, async (t) => {
    const sessionDir = mkdtempSync(join(tmpdir(), "polyray-exit-"));
    const child = forkFixture("exits.ts", [way, sessionDir]);
    const told = once(child, "message");
    const ended = once(child, "exit");
    const [socketName] = (await told) as [string];
    if (expected === "SIGTERM" || expected === "SIGKILL") child.kill(expected);
    const [code, signal] = (await ended) as [number | null, string | null];
    // tap's own exit hook, which its runner loads into children, turns the code 13 into 0.
    const tapped = process.env.TAP !== undefined && expected === 13;
    t.equal(tapped && code === 0 ? 13 : (code ?? signal), expected);
    // The guardian ends after its runtime.
    await until(
      () => !existsSync(sessionDir) && !readFileSync("/proc/net/unix", "utf8").includes(socketName),
    );
    t.pass("folder and socket are gone");
  });
}

t.test("clients in other processes are told when the node ends", async (t) => {
  const node = startNode();
  const store = openStore(node);
  const native = loadNative();
  const actor = native.createActorObject();
  const child = forkFixture("callee.ts", [node.socketName, node.token, native.idOf(actor)]);
  await messageOf(child);
  const ended = once(child, "exit");
  const rejected = t.rejects(store.get(store.refOf(native.createActorObject())), {
    code: "LOCAL_RAYLET_DIED",
  });
  node.stop();
  t.equal((await ended)[0], 0, "the callee exits when it gets the shutdown event");
  await rejected;
  t.equal(store.isOpen, false);
  t.throws(() => store.put(1), { code: "LOCAL_RAYLET_DIED" });
  store.close();
  t.throws(() => store.put(1), { name: "LocalRayletDiedError" }, "the reason stays");
});
