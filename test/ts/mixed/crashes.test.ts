// SPDX-License-Identifier: Apache-2.0
// Goal: a worker of either language that dies makes its call run again or fail with a typed error, never hang; actors
// restart across the language border; retries after exceptions work for Python functions called from TypeScript.
// Method: workers that end themselves by exit, abort, SIGKILL, SIGSEGV, against an embedded runtime.

import { join } from "node:path";
import { get, pyActor, pyFunction, remote } from "polyray";
import t from "tap";
import { die as dieTs, flaky as flakyTs, Counter as TsCounter } from "./fixtures/side.ts";
import { rejection, scratchFolder, startRuntime, within } from "./support.ts";

// The parent (the zygote, the service) has reaped it: the exit code or signal reaches the caller.
const howItEnded: Record<string, RegExp> = {
  kill: /was killed by signal 9/,
  _exit: /exited with code \d+/,
  exit: /exited with code \d+/,
  segfault: /was killed by signal 11/,
  abort: /was killed by signal 6/,
};

await startRuntime();
const scratch = scratchFolder();

interface Mortal {
  add(n?: number): number;
  value(): number;
  pid(): number;
  die(): void;
}

const echo = pyFunction("mixed_side", "echo");
const diePy = pyFunction<string[], string>("mixed_side", "die");

for (const how of ["kill", "_exit", "segfault"]) {
  t.test(`a Python worker that ends by ${how}`, async (t) => {
    const error = await rejection(get(diePy.options({ maxRetries: 0 }).remote(how)));
    t.equal(error.name, "WorkerCrashedError");
    t.match(error.message, howItEnded[how] as RegExp);
    t.equal(
      await within(get(diePy.remote(how, join(scratch, `py-${how}`))), "the retry"),
      "second run",
    );
    t.equal(await within(get(echo.remote("alive")), "the next call"), "alive");
  });
}

for (const how of ["kill", "exit", "abort"]) {
  t.test(`a TypeScript worker that ends by ${how}`, async (t) => {
    const f = remote(dieTs);
    const error = await rejection(get(f.options({ maxRetries: 0 }).remote(how)));
    t.equal(error.name, "WorkerCrashedError");
    t.match(error.message, howItEnded[how] as RegExp);
    t.equal(
      await within(get(f.remote(how, join(scratch, `ts-${how}`))), "the retry"),
      "second run",
    );
  });
}

t.test("the retries end: a task that always dies fails", async (t) => {
  const error = await rejection(get(diePy.options({ maxRetries: 2 }).remote("kill")));
  t.equal(error.name, "WorkerCrashedError");
});

t.test("a Python task that ends by SystemExit fails with its reason", async (t) => {
  const error = await rejection(
    get(pyFunction("mixed_side", "fails", { maxRetries: 0 }).remote("base")),
  );
  t.match(error.name, /WorkerCrashedError|TaskError/);
  t.match(error.message, /exit/i);
});

t.test("calls that wait behind a dying worker all settle", async (t) => {
  const many = Array.from({ length: 20 }, (_, i) => echo.remote(i));
  const dying = Array.from({ length: 4 }, (_, i) =>
    diePy.remote("kill", join(scratch, `storm-${i}`)),
  );
  const more = Array.from({ length: 20 }, (_, i) => echo.remote(i));
  t.same(await within(get([...many, ...more]), "the others"), [
    ...Array(20).keys(),
    ...Array(20).keys(),
  ]);
  t.same(await within(get(dying), "the dying"), Array(4).fill("second run"));
});

t.test("an object that a dead worker made is readable still", async (t) => {
  const make = pyFunction<[unknown], { pid: number; raw: Uint8Array }>(
    "mixed_side",
    "make_and_tell",
  );
  const ref = make.remote(300_000);
  const { pid, raw } = await within(get(ref), "the object");
  process.kill(pid, "SIGKILL");
  t.equal(raw.length, 300_000);
  t.equal(await within(get(echo.remote(1)), "another worker"), 1);
  t.equal((await within(get(ref), "the object again")).raw[299_999], 7);
});

t.test("retryExceptions runs a function of either language again", async (t) => {
  const flakyPy = pyFunction<[string, number], number>("mixed_side", "flaky", { maxRetries: 5 });
  t.equal(
    await within(
      get(flakyPy.options({ retryExceptions: true }).remote(join(scratch, "flaky-py"), 3)),
      "Python",
    ),
    3,
  );
  const once = await rejection(get(flakyPy.remote(join(scratch, "flaky-once"), 2)));
  t.match(once.message, /OSError: attempt 1/);
  const few = await rejection(
    get(
      flakyPy
        .options({ retryExceptions: true, maxRetries: 1 })
        .remote(join(scratch, "flaky-few"), 9),
    ),
  );
  t.match(few.message, /OSError: attempt 2/);
  const f = remote(flakyTs, { maxRetries: 5, retryExceptions: [RangeError] });
  t.equal(await within(get(f.remote(join(scratch, "flaky-ts"), 3)), "TypeScript"), 3);
});

t.test(
  "a Python actor that dies: dead without restarts, back with a fresh state with them",
  async (t) => {
    const mortal = pyActor<Mortal>("mixed_side", "Counter").remote();
    t.equal(await within(get(mortal.add.remote(5)), "add"), 5);
    const died = await rejection(get(mortal.die.remote()));
    t.equal(died.name, "ActorDiedError");
    t.equal((await rejection(get(mortal.add.remote()))).name, "ActorDiedError");
    const lives = pyActor<Mortal>("mixed_side", "Counter", {
      maxRestarts: 1,
      maxTaskRetries: 1,
    }).remote(10);
    const pid = await within(get(lives.pid.remote()), "pid");
    t.equal(await within(get(lives.add.remote(1)), "add"), 11);
    process.kill(pid, "SIGKILL");
    t.equal(await within(get(lives.value.remote()), "after the restart"), 10);
    t.not(await within(get(lives.pid.remote()), "pid"), pid);
  },
);

t.test("a TypeScript actor restarts for its Python callers", async (t) => {
  const lives = remote(TsCounter, { maxRestarts: 1, maxTaskRetries: 1 }).remote(20);
  const use = pyFunction<[unknown, number], number>("mixed_side", "use_handle");
  t.equal(await within(get(use.remote({ counter: lives }, 5)), "first"), 25);
  process.kill(await within(get(lives.pid.remote()), "pid"), "SIGKILL");
  t.equal(await within(get(use.remote({ counter: lives }, 3)), "after the restart"), 23);
});
