// SPDX-License-Identifier: Apache-2.0
// Goal: programs of both languages share one runtime: an embedded one by its address, a started head by the command; a named
// actor is common to all; workers' lines reach the driver, prefixed and folded; stopping leaves nothing.
// Method: drivers in processes of their own, under their own session root.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { get, pyActor, remote } from "polyray";
import t from "tap";
import { Counter } from "./fixtures/side.ts";
import {
  isAlive,
  polyray,
  processesOf,
  runPython,
  runTypeScript,
  scratchFolder,
  socketsOf,
  startHead,
  startRuntime,
  until,
  within,
} from "./support.ts";

process.env.POLYRAY_TMPDIR = scratchFolder();

const pythonDriver = `
import sys, polyray as ray
ray.init()
counter = ray.get_actor(sys.argv[1])
print(ray.get(counter.add.remote(1)), ray.get(ray.remote(lambda: 42).remote()))
`;

t.test("drivers of both languages join an embedded runtime and share named actors", async (t) => {
  const runtime = await startRuntime({ namespace: "shared" });
  const ours = remote(Counter, { name: "ts-counter" }).remote(10);
  t.equal(await within(get(ours.add.remote(1)), "our call"), 11);
  const theirs = pyActor<{ add(n?: number): number }>("mixed_side", "Counter", {
    name: "py-counter",
  }).remote(100);
  t.equal(await within(get(theirs.add.remote(1)), "the Python actor"), 101);
  const env = { POLYRAY_ADDRESS: runtime.address };
  for (const [name, count] of [
    ["ts-counter", 12],
    ["py-counter", 102],
  ] as const) {
    const python = await runPython(["-c", pythonDriver, name], env);
    t.equal(python.out.trim(), `${count} 42`, python.err);
    const typescript = await runTypeScript("joining-driver.ts", [runtime.address, name], env);
    t.match(typescript.out, new RegExp(`"sum":42,"count":${count + 1}`), typescript.err);
  }
  t.equal(await within(get(ours.add.remote(1)), "our call after the others left"), 14);
});

t.test("a started head: joined by both languages, shown, stopped; nothing is left", async (t) => {
  const head = await startHead();
  t.match(head.address, /^127\.0\.0\.1:\d+$/);
  t.ok(isAlive(head.pid));
  const typescript = await runTypeScript("joining-driver.ts", [head.address]);
  t.match(
    typescript.out,
    new RegExp(`"sum":42,"count":null,"address":"${head.address}"`),
    typescript.err,
  );
  const python = await runPython([
    "-c",
    `import polyray as ray; ray.init(${JSON.stringify(head.address)}); print(ray.get(ray.remote(lambda: 42).remote()))`,
  ]);
  t.equal(python.out.trim(), "42", python.err);
  const shown = await polyray(["status", "--address", head.address]);
  t.match(shown.out, /Cluster status[\s\S]*\/1 CPU/, shown.err);
  const json = await polyray(["status", "--address", head.address, "--json"]);
  t.equal((JSON.parse(json.out) as { address: string }).address, head.address);
  const stopped = await polyray(["stop", "--address", head.address]);
  t.match(stopped.out, new RegExp(`Stopped ${head.address}`), stopped.err);
  await until(
    () => !isAlive(head.pid) && processesOf(head.sessionId).length === 0,
    "processes of the head end",
  );
  await until(() => socketsOf(head.sessionId).length === 0, "its sockets are gone");
  await until(() => !existsSync(join(head.sessionDir, "node.json")), "its session is unpublished");
  t.ok(readdirSync(process.env.POLYRAY_TMPDIR as string).length <= 1);
  t.not((await polyray(["status", "--address", head.address])).code, 0);
});

t.test("lines of workers reach the driver with name and pid, repeated ones folded", async (t) => {
  const driver = await runTypeScript("printing-driver.ts");
  t.equal(driver.code, 0, driver.err);
  const all = driver.out + driver.err;
  const { pid } = JSON.parse(
    driver.out.split("\n").find((line) => line.startsWith("{")) ?? "{}",
  ) as { pid: number };
  t.match(all, new RegExp(`^\\(shout pid=${pid}\\) from Python$`, "m"));
  t.match(all, /^\(shout pid=\d+\) from Python \[repeated 49x\]$/m);
  t.match(all, new RegExp(`^\\(shout pid=${pid}\\) from Python to stderr$`, "m"));
  t.match(all, /^\(talk pid=\d+\) from TypeScript$/m);
});
