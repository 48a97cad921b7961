// SPDX-License-Identifier: Apache-2.0
// Goal: runtime environments of TypeScript programs: variables, folders, npm packages, hooks, limits, Python tools, errors.
// Method: one runtime whose job has a folder and variables; tasks change parts of it. Packages are local folders: no network.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { get, init, type ObjectRef, pyFunction, remote, shutdown } from "polyray";
import t from "tap";

const scratch = mkdtempSync(join(tmpdir(), "polyray-env-test-"));
const write = (path: string, text: string): string => {
  const full = join(scratch, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  return full;
};
t.teardown(async () => {
  await shutdown();
  rmSync(scratch, { recursive: true, force: true });
});

async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}

write("work/data.txt", "hi");
write("work/skip/big.bin", "left out");
write(
  "work/hook.mjs",
  `export async function setUp() { globalThis.hooked = "yes"; }\nexport function bad() { throw new Error("no luck"); }\n`,
);
write(
  "work/side.py",
  "import os\ndef look():\n    return [os.environ.get('A'), open('data.txt').read()]\n",
);
write("pymods/inner/__init__.py", "VALUE = 5\ndef value():\n    return VALUE\n");
write(
  "plain/package.json",
  JSON.stringify({
    name: "plain",
    version: "1.2.3",
    type: "module",
    exports: { import: "./index.js" },
  }),
);
write("plain/index.js", `export const plain = "esm " + (await import("./more.js")).more;\n`);
write("plain/more.js", `export const more = 7;\n`);
write("old/package.json", JSON.stringify({ name: "old", version: "2.0.0", main: "main.js" }));
write("old/main.js", `module.exports = { old: "cjs" };\n`);
write(
  "app/package.json",
  JSON.stringify({ name: "app", version: "1.0.0", dependencies: { old: "file:../old" } }),
);

const session = await init({
  numCpus: 2,
  objectStoreMemory: "64MiB",
  runtimeEnv: {
    envVars: { A: "1", B: "2" },
    workingDir: join(scratch, "work"),
    excludes: ["skip/"],
  },
});

const look = remote(async () => {
  const { readFileSync, readdirSync } = await import("node:fs");
  return {
    vars: ["A", "B", "C"].map((name) => process.env[name] ?? null),
    files: readdirSync(".").sort(),
    data: readFileSync("data.txt", "utf8"),
    cwd: process.cwd(),
    hooked: (globalThis as { hooked?: string }).hooked ?? null,
  };
});

t.test("workers start in the job's folder with its variables", async (t) => {
  writeFileSync(join(scratch, "work", "data.txt"), "changed after init");
  const seen = await get(look.remote());
  t.same(seen.vars, ["1", "2", null]);
  t.same(seen.files, ["data.txt", "hook.mjs", "side.py"]);
  t.equal(seen.data, "hi");
  t.ok(seen.cwd.startsWith(session.sessionDir));
  t.same(await get(pyFunction("side", "look").remote()), ["1", "hi"], "Python workers too");
});

t.test("variables merge by name; children and actors have them", async (t) => {
  const own = look.options({ runtimeEnv: { envVars: { B: "3", C: "4" } } });
  t.same((await get(own.remote())).vars, ["1", "3", "4"]);
  const parent = remote(async () => {
    const { get, remote } = await import("polyray");
    return get(remote(() => [process.env.A, process.env.C]).remote());
  });
  t.same(await get(parent.options({ runtimeEnv: { envVars: { C: "9" } } }).remote()), ["1", "9"]);
  class Holder {
    seen(): (string | undefined)[] {
      return [process.env.A, process.env.C];
    }
  }
  const holder = remote(Holder)
    .options({ runtimeEnv: { envVars: { C: "actor" } } })
    .remote();
  t.same(await get(holder.seen.remote()), ["1", "actor"]);
});

t.test("a set-up hook runs before user code; one that fails is the error", async (t) => {
  const hooked = look.options({ runtimeEnv: { setupHook: "./hook.mjs#setUp" } });
  t.equal((await get(hooked.remote())).hooked, "yes");
  const never = look.options({ maxRetries: 0, runtimeEnv: { setupHook: "./hook.mjs#bad" } });
  const error = await failure(get(never.remote()));
  t.equal(error.name, "RuntimeEnvSetupError");
  t.match(error.message, /hook\.mjs#bad[\s\S]*no luck/);
});

t.test("tasks import packages of an npm environment, which is made once", async (t) => {
  const packages = { plain: `file:${join(scratch, "plain")}`, old: `file:${join(scratch, "old")}` };
  const plain = remote(async () => {
    const found = (await import("plain" as string)) as { plain: string };
    const { createRequire } = await import("node:module");
    const old = createRequire(`${process.cwd()}/x.js`)("old") as { old: string };
    return [found.plain, old.old];
  });
  const task = plain.options({ runtimeEnv: { node: { packages } } });
  t.same(await get(task.remote()), ["esm 7", "cjs"]);
  const cache = join(dirname(session.sessionDir), "environments");
  const before = readdirSync(cache);
  t.ok(before.some((name) => name.startsWith("npm-")));
  t.same(await get(task.remote()), ["esm 7", "cjs"]);
  t.same(readdirSync(cache), before);
  const missing = await failure(get(plain.options({ maxRetries: 0 }).remote()));
  t.match(missing.message, /plain/);
});

t.test("a package.json with its lock file is installed by npm ci", async (t) => {
  const app = join(scratch, "app");
  execFileSync("npm", ["install", "--package-lock-only", "--install-links", "--no-audit"], {
    cwd: app,
    stdio: "ignore",
  });
  t.match(readFileSync(join(app, "package-lock.json"), "utf8"), /"old"/);
  const task = remote(async () => {
    const { createRequire } = await import("node:module");
    return createRequire(`${process.cwd()}/x.js`)("old") as unknown;
  }).options({ runtimeEnv: { node: { packageJson: join(app, "package.json") } } });
  t.same(await get(task.remote()), { old: "cjs" });
});

t.test("limits and flags of Node", async (t) => {
  const task = remote(() => process.execArgv.join(" ")).options({
    runtimeEnv: {
      node: {
        execArgv: ["--stack-trace-limit=33"],
        resourceLimits: { maxOldGenerationSizeMb: 300 },
      },
    },
  });
  t.match(await get(task.remote()), /--stack-trace-limit=33.*--max-old-space-size=300/);
});

t.test("Python modules and interpreters", async (t) => {
  const modules = [join(scratch, "pymods", "inner")];
  const value = pyFunction<[], number>("inner", "value");
  t.equal(await get(value.options({ runtimeEnv: { python: { modules } } }).remote()), 5);
});

t.test("what cannot be set up names the step", async (t) => {
  const task = remote(() => 1);
  const node = { packages: { nothing: "file:/nowhere/at/all" } };
  const py = pyFunction("side", "look");
  const installOptions = ["--no-index"];
  const pip = { packages: ["no-such-package-xyz"], installOptions };
  for (const [ref, wanted] of [
    [task.options({ runtimeEnv: { node } }).remote(), /npm install failed/],
    [
      task.options({ runtimeEnv: { workingDir: "/nowhere" } }).remote(),
      /\/nowhere.*does not exist/,
    ],
    [
      task.options({ runtimeEnv: { node: { executable: "/nowhere/node" } } }).remote(),
      /\/nowhere\/node/,
    ],
    [
      py.options({ runtimeEnv: { python: { pip } } }).remote(),
      /pip install failed[\s\S]*no-such-package-xyz/,
    ],
    [
      py.options({ runtimeEnv: { python: { executable: "/nowhere/py" } } }).remote(),
      /\/nowhere\/py/,
    ],
  ] as const) {
    const error = await failure(get(ref as ObjectRef<unknown>));
    t.equal(error.name, "RuntimeEnvSetupError", error.message);
    t.match(error.message, wanted);
  }
});

t.test("wrong environments are refused at once", async (t) => {
  const task = remote(() => 1) as unknown as { options(o: unknown): unknown };
  for (const [runtimeEnv, wanted] of [
    [{ colour: 1 }, /without "colour" \(it may have: envVars, workingDir/],
    [{ envVars: { A: 1 } }, /envVars is an object of strings/],
    [{ workingDir: 1 }, /workingDir is a non-empty string/],
    [{ python: { pip: ["a"], uv: ["b"] } }, /pip or uv, not both/],
    [{ python: { pip: { packages: 1 } } }, /packages is a list of strings/],
    [{ node: { packages: { a: 1 } } }, /packages is an object of strings/],
    [{ setupHook: "x" }, /module#export/],
    [{ config: { setupTimeoutMs: 0 } }, /setupTimeoutMs is a number > 0/],
    ["x", /an object/],
  ] as const)
    t.throws(() => task.options({ runtimeEnv }), { message: wanted });
});
