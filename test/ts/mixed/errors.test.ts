// SPDX-License-Identifier: Apache-2.0
// Goal: what goes wrong on the other side is a typed error here that says what it was and where; bad input is refused with
// the name of what is bad. Method: Python and TypeScript workers of one embedded runtime that fail on purpose.

import { join } from "node:path";
import {
  get,
  kwargs,
  PythonError,
  put,
  pyActor,
  pyFunction,
  release,
  remote,
  TaskError,
  wait,
} from "polyray";
import t from "tap";
import { fails as failsTs } from "./fixtures/side.ts";
import { type Caught, fixtures, rejection, startRuntime, thrown, within } from "./support.ts";

await startRuntime({ resources: { alice: 1 } });

interface Failing {
  add(n?: number): number;
  fail(): void;
}

const fails = pyFunction<[string], void>("mixed_side", "fails");
const echo = pyFunction("mixed_side", "echo");

t.test(
  "a Python exception is the cause of a TaskError, with class name and traceback",
  async (t) => {
    const error = await rejection(get(fails.remote("value")));
    t.ok(error instanceof TaskError);
    t.equal(error.code, "TASK_FAILED");
    t.match(error.message, /ValueError: no such luck/);
    t.match(error.message, /fails/);
    t.type(error.pid, "number");
    const cause = error.cause as PythonError;
    t.ok(cause instanceof PythonError);
    t.equal(cause.className, "ValueError");
    t.equal(cause.moduleName, "builtins");
    t.match(
      cause.traceback,
      /Traceback[\s\S]*mixed_side\.py[\s\S]*in fails[\s\S]*ValueError: no such luck/,
    );
  },
);

t.test("an exception class of its own, and a chain of causes", async (t) => {
  const own = (await rejection(get(fails.remote("own")))).cause as PythonError;
  t.equal(own.className, "OwnError");
  t.equal(own.moduleName, "mixed_side");
  const chained = (await rejection(get(fails.remote("chained")))).cause as PythonError;
  t.equal(chained.className, "RuntimeError");
  t.match(chained.traceback, /KeyError: 'missing'[\s\S]*direct cause[\s\S]*RuntimeError: outer/);
});

t.test("the exception goes back to Python as it was", async (t) => {
  const error = await rejection(get(fails.remote("own")));
  const back = pyFunction<[unknown], string>("mixed_side", "described");
  t.match(
    await within(get(back.remote((error.cause as PythonError).original)), "the original"),
    /^OwnError\(3, 'deep'\)$/,
  );
});

t.test(
  "a Python method that raises leaves its actor alive; a constructor that raises fails every call",
  async (t) => {
    const counter = pyActor<Failing>("mixed_side", "Counter").remote();
    const error = await rejection(get(counter.fail.remote()));
    t.equal((error.cause as PythonError).className, "LookupError");
    t.equal(await within(get(counter.add.remote()), "the actor lives"), 1);
    const unknown = await rejection(
      get((counter as unknown as { nope: { remote(): never } }).nope.remote()),
    );
    t.match(unknown.message, /nope/);
    t.match(unknown.message, /Counter/);
    const broken = pyActor<Failing>("mixed_side", "Counter").remote(-1);
    const died = await rejection(get(broken.add.remote()));
    t.equal(died.name, "ActorDiedError");
    t.match(died.message, /a counter starts at 0 or above/);
  },
);

t.test(
  "a failed Python argument fails the TypeScript call that takes it, and the other way round",
  async (t) => {
    const next = remote((x: unknown) => x);
    const error = await rejection(get(next.remote(fails.remote("value"))));
    t.equal(error.name, "TaskError");
    t.match(error.message, /no such luck/);
    t.equal(innermost(error).className, "ValueError");
    const other = await rejection(get(echo.remote(remote(failsTs).remote("own"))));
    t.equal(other.name, "TaskError");
    t.match(other.message, /LevelError: level 3/);
  },
);

t.test("an error that went through both languages keeps its first cause", async (t) => {
  const inner = remote(async () => get(pyFunction("mixed_side", "fails").remote("value")));
  const error = await rejection(get(inner.remote()));
  t.equal(error.name, "TaskError");
  t.equal(innermost(error).className, "ValueError");
  t.same((error as unknown as TaskError).chain.length, 2);
});

t.test("a TypeScript task that throws something other than an error", async (t) => {
  const f = remote(failsTs);
  for (const [kind, text] of [
    ["number", /42/],
    ["undefined", /undefined/],
    ["null", /null/],
  ] as const) {
    const error = await rejection(get(f.remote(kind)));
    t.equal(error.name, "TaskError", kind);
    t.match(error.message, text);
    t.match(error.message, /threw|not an Error|thrown/i, "it says that no Error was thrown");
  }
});

t.test("an argument that cannot be sent is named by its path, towards Python too", async (t) => {
  const bad = { options: [{ handler: new WeakMap() }] };
  const argument = thrown(() => echo.remote(1, bad));
  t.equal(argument.name, "UnserializableError");
  t.equal(argument.path, "args[1].options[0].handler");
  t.match(argument.message, /args\[1\]\.options\[0\]\.handler: .*WeakMap/);
  t.match(
    thrown(() => echo.remote(kwargs({ named: { x: Promise.resolve(1) } }))).message,
    /named.*x.*[Pp]romise/,
  );
  t.equal(thrown(() => put({ deep: new WeakSet() })).path, "value.deep");
  t.equal(await within(get(echo.remote(5)), "the next call"), 5);
});

t.test("a Python result that cannot be sent is a typed error", async (t) => {
  const error = await rejection(get(pyFunction("mixed_side", "not_serializable").remote()));
  t.match(error.message, /lock/);
  t.match(error.message, /not_serializable/);
});

t.test("a module or name that does not load: Python", async (t) => {
  const broken = await rejection(get(pyFunction("broken_side", "anything").remote()));
  t.equal(broken.name, "RuntimeEnvSetupError");
  t.match(broken.message, /broken_side/);
  t.match(broken.message, /this module never loads/);
  const missing = await rejection(get(pyFunction("no_such_module_anywhere", "f").remote()));
  t.equal(missing.name, "RuntimeEnvSetupError");
  t.match(missing.message, /no_such_module_anywhere/);
  const name = await rejection(get(pyFunction("mixed_side", "no_such_name").remote()));
  t.equal(name.name, "RuntimeEnvSetupError");
  t.match(name.message, /mixed_side[\s\S]*no_such_name/);
  const actor = await rejection(
    get(pyActor<Failing>("broken_side", "Thing").remote().add.remote()),
  );
  t.match(actor.name, /RuntimeEnvSetupError|ActorDiedError/);
  t.match(actor.message, /this module never loads/);
});

t.test("a module or name that does not load: TypeScript, asked for by Python", async (t) => {
  const ask = async (path: string, name: string): Promise<Caught> =>
    rejection(get(pyFunction("mixed_side", "call_js").remote(join(fixtures, path), name)));
  t.match(
    (await ask("broken-side.ts", "anything")).message,
    /RuntimeEnvSetupError[\s\S]*broken-side\.ts[\s\S]*this module never loads/,
  );
  t.match(
    (await ask("side.ts", "noSuchExport")).message,
    /RuntimeEnvSetupError[\s\S]*side\.ts[\s\S]*noSuchExport/,
  );
  t.match((await ask("missing.ts", "f")).message, /InvalidOptionError[\s\S]*missing\.ts/);
});

t.test("unknown options and resources", async (t) => {
  t.match(
    thrown(() => fails.options({ num_cpus: 1 } as never)),
    { name: "InvalidOptionError", message: /num_cpus.*numCpus/ },
  );
  t.match(
    thrown(() => pyActor("mixed_side", "Counter", { maxRestart: 1 } as never)),
    { name: "InvalidOptionError", message: /maxRestart.*maxRestarts/ },
  );
  t.match(
    thrown(() => pyFunction("", "f")),
    { name: "InvalidOptionError" },
  );
  const resource = await rejection(get(echo.options({ resources: { bob: 1 } }).remote(1)));
  t.equal(resource.name, "UnschedulableError");
  t.match(resource.message, /^\[unschedulable\] It needs \{"CPU":1,"bob":1\}, but the node has /);
  const tooMany = await rejection(get(echo.options({ numCpus: 64 }).remote(1)));
  t.equal(tooMany.name, "UnschedulableError");
  t.match(tooMany.message, /^\[unschedulable\] It needs \{"CPU":64\}, .*"CPU":2,/);
  const inTypeScript = await rejection(get(remote(() => 1, { resources: { alice: 2 } }).remote()));
  t.equal(inTypeScript.name, "UnschedulableError");
  t.match(inTypeScript.message, /alice/);
  const actor = await rejection(
    get(
      pyActor<Failing>("mixed_side", "Counter", { resources: { bob: 1 } })
        .remote()
        .add.remote(),
    ),
  );
  t.match(actor.name, /UnschedulableError|ActorDiedError/);
  t.match(actor.message, /^\[unschedulable\] Counter .* was never placed: It needs .*"bob":1/);
  t.equal(await within(get(echo.options({ resources: { alice: 1 } }).remote(1)), "what exists"), 1);
});

t.test("a released ref is refused everywhere", async (t) => {
  const ref = put([1, 2]);
  release(ref);
  t.equal((await rejection(get(ref))).name, "ObjectFreedError");
  t.equal((await rejection(wait([ref]))).name, "ObjectFreedError");
  t.equal(thrown(() => echo.remote(ref)).name, "ObjectFreedError");
  t.equal(thrown(() => echo.remote({ deep: [ref] })).name, "ObjectFreedError");
  t.equal(thrown(() => put({ ref })).name, "ObjectFreedError");
  release(ref);
});

function innermost(error: unknown): PythonError {
  let at = error as Error;
  while (at.cause instanceof Error) at = at.cause;
  return at as PythonError;
}
