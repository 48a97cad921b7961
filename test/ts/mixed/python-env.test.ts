// SPDX-License-Identifier: Apache-2.0
// Goal: a Python that is missing, lacks polyray, or has another version of it is a typed error at the call that needs it, and
// TypeScript tasks go on; a driver of another version is refused at the door.
// Method: POLYRAY_PYTHON set to what is wrong before init; a virtual environment without packages; an edited node.json.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { get, init, pyActor, pyFunction, remote, shutdown } from "polyray";
import t from "tap";
import {
  type Caught,
  fixtures,
  rejection,
  runPython,
  runTypeScript,
  scratchFolder,
  venvPython,
  within,
} from "./support.ts";

const scratch = scratchFolder();
t.teardown(() => shutdown());

async function failureWith(
  python: string,
  pythonPath: string = fixtures,
): Promise<{ task: Caught; actor: Caught; other: number }> {
  process.env.POLYRAY_PYTHON = python;
  process.env.PYTHONPATH = pythonPath;
  await within(init({ numCpus: 2, objectStoreMemory: "64MiB", logToDriver: false }), "init");
  try {
    const task = await rejection(get(pyFunction("mixed_side", "echo").remote(1)));
    const actor = await rejection(
      get(pyActor<{ add(): number }>("mixed_side", "Counter").remote().add.remote()),
    );
    const other = await within(get(remote((x: number) => x + 1).remote(1)), "a TypeScript task");
    return { task, actor, other };
  } finally {
    await shutdown();
    delete process.env.POLYRAY_PYTHON;
  }
}

t.test("a Python that does not exist", async (t) => {
  const { task, actor, other } = await failureWith("/nonexistent/python3");
  t.equal(task.name, "RuntimeEnvSetupError");
  t.match(task.message, /\/nonexistent\/python3[\s\S]*POLYRAY_PYTHON/);
  t.match(actor.name, /RuntimeEnvSetupError|ActorDiedError/);
  t.match(actor.message, /\/nonexistent\/python3/);
  t.equal(other, 2);
});

t.test("a Python without the package", async (t) => {
  const bare = join(scratch, "bare");
  execFileSync(venvPython, ["-m", "venv", "--without-pip", bare]);
  const { task, actor, other } = await failureWith(join(bare, "bin", "python"));
  t.equal(task.name, "RuntimeEnvSetupError");
  t.match(task.message, /bare\/bin\/python[\s\S]*cannot import polyray[\s\S]*pip install polyray/);
  t.match(actor.message, /cannot import polyray/);
  t.equal(other, 2);
});

t.test("a Python with another version of the package", async (t) => {
  const old = join(scratch, "old");
  mkdirSync(join(old, "polyray"), { recursive: true });
  writeFileSync(join(old, "polyray", "__init__.py"), '__version__ = "0.0.1"\n');
  const { task, other } = await failureWith(venvPython, old);
  t.equal(task.name, "VersionMismatchError");
  t.match(task.message, /0\.0\.1[\s\S]*same version/);
  t.equal(other, 2);
});

t.test("a runtime of another version is not joined, in either language", async (t) => {
  process.env.POLYRAY_PYTHON = venvPython;
  const runtime = await within(
    init({ numCpus: 1, objectStoreMemory: "64MiB", logToDriver: false }),
    "init",
  );
  const note = join(runtime.sessionDir, "node.json");
  const info = JSON.parse(readFileSync(note, "utf8")) as Record<string, unknown>;
  writeFileSync(note, JSON.stringify({ ...info, version: "99.0.0" }));
  const source = `import polyray as ray\ntry:\n    ray.init(${JSON.stringify(runtime.address)})\nexcept ray.exceptions.RayError as e:\n    print(type(e).__name__, e)\n`;
  const python = await runPython(["-c", source]);
  t.match(python.out, /^VersionMismatchError .*99\.0\.0.*same version/s, python.err);
  const typescript = await runTypeScript("joining-driver.ts", [runtime.address]);
  t.match(typescript.out, /VersionMismatchError .*99\.0\.0.*same version/s, typescript.err);
  await shutdown();
});
