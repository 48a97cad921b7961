// SPDX-License-Identifier: Apache-2.0
// Goal: with `tracing` one OpenTelemetry trace covers calls over the language border: each submission is a span, each run is its
// child, what a run submits is below it; tasks, methods of plain and async actors, constructors, streams, errors.
// Who has no OpenTelemetry API and did not ask for it runs without spans; the trace goes through it all the same.
// Method: drivers and workers of both languages write their spans into one file; the test reads the tree from it. A package of
// the same name that cannot be imported, and a resolver that finds none, stand for an environment without the API.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trace } from "@opentelemetry/api";
import { get, init, pyActor, pyFunction, remote, shutdown } from "polyray";
import t from "tap";
import { type Gated, spansVariable, type Written } from "./fixtures/spans.ts";
import {
  fixtures,
  polyray,
  rejection,
  runPython,
  startHead,
  startRuntime,
  until,
  within,
  withoutPackage,
} from "./support.ts";

t.setTimeout(240_000); // many processes start

const folder = mkdtempSync(join(tmpdir(), "polyray-spans-"));
const file = join(folder, "spans.jsonl");
process.env[spansVariable] = file;
writeFileSync(file, "");
t.teardown(() => rmSync(folder, { recursive: true }));

const module = join(fixtures, "spans.ts");
await startRuntime({
  numCpus: 4,
  tracing: { setup: `${module}#setUp`, pythonSetup: "spans_side:set_up" },
});

const written = (): Written[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Written);

/** Runs a program below a span of its own; its spans, when there are as many as it must make. */
async function traced(count: number, run: () => Promise<unknown>): Promise<Tree> {
  const id = await trace.getTracer("test").startActiveSpan("program", async (span) => {
    try {
      await within(run(), "the program");
    } finally {
      span.end();
    }
    return span.spanContext().traceId;
  });
  const own = (): Written[] => written().filter((span) => span.trace === id);
  await until(async () => own().length >= count, `${count} spans of the trace`);
  return new Tree(own());
}

class Tree {
  readonly spans: readonly Written[];

  constructor(spans: readonly Written[]) {
    this.spans = spans;
  }

  one(name: string): Written {
    const found = this.spans.filter((span) => span.name === name);
    if (found.length !== 1) throw new Error(`${found.length} of ${name}: ${this.names()}`);
    return found[0] as Written;
  }

  names(): string[] {
    return this.spans.map((span) => span.name).sort();
  }

  /** The names from the root to each span that has no children. */
  paths(): string[] {
    const byId = new Map(this.spans.map((span) => [span.id, span]));
    const parents = new Set(this.spans.map((span) => span.parent));
    const path = (span: Written): string => {
      const above = span.parent === null ? undefined : byId.get(span.parent);
      return above === undefined ? span.name : `${path(above)} > ${span.name}`;
    };
    return this.spans
      .filter((span) => !parents.has(span.id))
      .map(path)
      .sort();
  }
}

const call = (name: string): string => `${name} ray.remote > ${name} ray.remote_worker`;
// What a function of the other language is called: by its export where it is submitted, with its module where it runs.
const crossed = (name: string): string =>
  `${name} ray.remote > spans_side.${name} ray.remote_worker`;

t.test("one trace covers TypeScript, Python, TypeScript and Python", async (t) => {
  const middle = pyFunction<[number, string], number>("spans_side", "middle");
  const outer = remote(async function outer(x: number, m: string) {
    return (await get(middle.remote(x, m))) + 1;
  });
  const tree = await traced(9, async () => t.equal(await get(outer.remote(5, module)), 13));
  const path = ["program", call("outer"), crossed("middle"), call("back"), crossed("leaf")];
  t.same(tree.paths(), [path.join(" > ")]);
  for (const { name, kind, failed, attributes } of tree.spans) {
    if (name === "program") continue;
    t.equal(kind, name.endsWith("_worker") ? "CONSUMER" : "PRODUCER", name);
    t.notOk(failed);
    t.match(attributes, { "ray.remote": "function", "ray.node_id": /^[0-9a-f]+$/ });
  }
  t.equal(tree.one("back ray.remote").attributes["polyray.language"], "py");
  t.equal(tree.one("back ray.remote_worker").attributes["polyray.language"], "ts");
  const task = tree.one("back ray.remote_worker").attributes["ray.task_id"];
  t.equal(tree.one("leaf ray.remote").attributes["ray.task_id"], task, "submitted by that task");
});

t.test("keyword arguments and the trace travel together", async (t) => {
  const { kwargs } = await import("polyray");
  const named = pyFunction<[unknown], string>("spans_side", "named");
  const tree = await traced(3, async () =>
    t.equal(await get(named.remote(kwargs({ word: "ab" }))), "abab"),
  );
  t.same(tree.paths(), [`program > ${crossed("named")}`]);
});

t.test("an actor's constructor and methods are spans, below each what it submits", async (t) => {
  class Doubler {
    readonly #start: number;
    constructor(start: number) {
      this.#start = start;
    }
    async add(by: number): Promise<number> {
      const leaf = pyFunction<[number], number>("spans_side", "leaf");
      return this.#start + (await get(leaf.remote(by)));
    }
  }
  const tree = await traced(13, async () => {
    const plain = pyActor<{ add(by: number): number }, [number]>("spans_side", "Plain").remote(1);
    const doubler = remote(Doubler).remote(10);
    t.equal(await get(plain.add.remote(3)), 7);
    t.equal(await get(doubler.add.remote(4)), 18);
  });
  const leaf = call("spans_side.leaf");
  t.same(tree.paths(), [
    `program > ${call("Doubler.add")} > ${crossed("leaf")}`,
    `program > ${call("Doubler.constructor")}`,
    `program > ${call("Plain.__init__")}`,
    `program > ${call("Plain.add")} > ${leaf}`,
  ]);
  const { attributes } = tree.one("Plain.add ray.remote_worker");
  t.match(attributes, { "ray.actor_class": "Plain", "ray.actor_method": "add" });
  t.match(attributes["ray.actor_id"], /^[0-9a-f]{32}$/);
});

t.test("methods of an async actor that run at once keep their spans apart", async (t) => {
  const actor = pyActor<{ add(by: number): number }>("spans_side", "Async").remote();
  await actor.ready();
  const trees = await Promise.all(
    [1, 2, 3, 4].map((n) => traced(5, async () => t.equal(await get(actor.add.remote(n)), 2 * n))),
  );
  for (const tree of trees)
    t.same(tree.paths(), [`program > ${call("Async.add")} > ${call("spans_side.leaf")}`]);
});

t.test(
  "the span of a stream lasts until its last item, what its steps submit is below it",
  async (t) => {
    const numbers = pyFunction<[number], number>("spans_side", "numbers").options({ stream: true });
    const actor = pyActor<{ items(count: number): AsyncGenerator<number> }>("spans_side", "Async");
    const own = remote(async function* counted(count: number) {
      const leaf = pyFunction<[number], number>("spans_side", "leaf");
      for (let n = 0; n < count; n++) yield await get(leaf.remote(n));
    });
    const all = async (stream: unknown): Promise<number[]> => {
      const found: number[] = [];
      for await (const ref of stream as AsyncIterable<never>) found.push(await get<number>(ref));
      return found;
    };
    const leaf = call("spans_side.leaf");
    for (const [make, path] of [
      [() => numbers.remote(3), `${crossed("numbers")} > ${leaf}`],
      [() => own.remote(3), `${call("counted")} > ${crossed("leaf")}`],
    ] as const) {
      const tree = await traced(9, async () => t.same(await all(make()), [0, 2, 4]));
      t.same(tree.paths(), Array(3).fill(`program > ${path}`));
    }
    const handle = actor.remote();
    const tree = await traced(9, async () =>
      t.same(await all(handle.items.options({ stream: true }).remote(3)), [0, 2, 4]),
    );
    t.same(tree.paths(), Array(3).fill(`program > ${call("Async.items")} > ${leaf}`));
  },
);

t.test("what a body throws is recorded at the span of its run", async (t) => {
  const fails = pyFunction<[], void>("spans_side", "fail");
  const own = remote(function broken() {
    throw new RangeError("of TypeScript");
  });
  const later = remote(async function later() {
    throw new TypeError("of a promise");
  });
  const plain = pyActor<{ fail(): void }, [number]>("spans_side", "Plain").remote(1);
  const tree = await traced(9, async () => {
    for (const ref of [fails.remote(), own.remote(), later.remote(), plain.fail.remote()])
      await rejection(get(ref));
  });
  for (const [name, type] of [
    ["spans_side.fail", "ValueError"],
    ["broken", "RangeError"],
    ["later", "TypeError"],
    ["Plain.fail", "KeyError"],
  ] as const) {
    const span = tree.one(`${name} ray.remote_worker`);
    t.ok(span.failed, name);
    t.same(span.events, [type]);
  }
  t.same(tree.spans.filter((span) => span.failed).length, 4, "submissions did not fail");
});

// A folder that hides the OpenTelemetry API from the Python that looks there first.
const hides = join(folder, "hides");
mkdirSync(join(hides, "opentelemetry"), { recursive: true });
writeFileSync(join(hides, "opentelemetry", "__init__.py"), 'raise ModuleNotFoundError("hidden")\n');
const hidden = `${hides}:${fixtures}`;

t.test("Python workers that lack the API make no spans and pass the trace on", async (t) => {
  await shutdown();
  process.env.PYTHONPATH = hidden;
  t.teardown(() => {
    process.env.PYTHONPATH = fixtures;
  });
  await init({ numCpus: 4, logToDriver: false, tracing: { setup: `${module}#setUp` } });
  const middle = pyFunction<[number, string], number>("spans_side", "middle");
  const tree = await traced(4, async () => t.equal(await get(middle.remote(5, module)), 12));
  t.same(tree.paths(), ["program > middle ray.remote > back ray.remote_worker > leaf ray.remote"]);
  const actor = pyActor<{ ask(m: string): number }>("spans_side", "Async").remote();
  await actor.ready();
  const asked = await traced(4, async () => t.equal(await get(actor.ask.remote(module)), 3));
  t.same(asked.paths(), [
    "program > Async.ask ray.remote > back ray.remote_worker > leaf ray.remote",
  ]);
  await shutdown();
});

const JOINS = `
import sys
import polyray as ray
from polyray.util.tracing.tracing_helper import _is_tracing_enabled
ray.init(sys.argv[1], **({"_tracing_startup_hook": False} if sys.argv[2] == "no" else {}))
assert _is_tracing_enabled() == (sys.argv[2] == "yes"), sys.argv[2]
assert ray.get(ray.js_function(sys.argv[3], "back").remote(2)) == 5
`;

t.test("a runtime that was started with hooks has the programs that join it traced", async (t) => {
  await shutdown();
  const refused = await polyray(["start", "--head", "--tracing-startup-hook", "nothing"]);
  t.match(refused.err, /is "module:function" of Python or "module#export" of TypeScript/);
  const hooks = ["--tracing-startup-hook", `${module}#setUp`];
  const { address } = await startHead(...hooks, "--tracing-startup-hook", "spans_side:set_up");
  try {
    const names = (): string[] => written().map((span) => span.name);
    const path = [call("back"), crossed("leaf")].join(" > ");
    for (const said of ["yes", "no"]) {
      writeFileSync(file, "");
      const ended = await runPython(["-c", JOINS, address, said, module]);
      t.equal(ended.code, 0, ended.err);
      if (said === "yes") await until(() => names().length >= 4, "four spans");
      t.same(new Tree(written()).paths(), said === "yes" ? [path] : []);
    }
    const without = await runPython(["-c", JOINS, address, "without", module], {
      PYTHONPATH: hidden,
    });
    t.equal(without.code, 0, without.err);
    await withoutPackage("@opentelemetry/api", async () => {
      await init({ address, logToDriver: false });
      const leaf = pyFunction<[number], number>("spans_side", "leaf");
      const here = remote(async function here() {
        return await get(leaf.remote(2));
      });
      t.equal(await within(get(leaf.remote(4)), "leaf"), 8);
      t.equal(await within(get(here.remote()), "here"), 4);
      await shutdown();
    });
    for (const tracing of [undefined, false]) {
      writeFileSync(file, "");
      await init({ address, logToDriver: false, ...(tracing === undefined ? {} : { tracing }) });
      const leaf = pyFunction<[number], number>("spans_side", "leaf");
      t.equal(await within(get(leaf.remote(4)), "leaf"), 8);
      if (tracing !== false) await until(() => names().length >= 2, "two spans");
      t.same(new Tree(written()).paths(), tracing === false ? [] : [crossed("leaf")]);
      await shutdown();
    }
  } finally {
    await polyray(["stop", "--address", address]);
  }
});

t.test("a shutdown while the set-up runs leaves tracing off", async (t) => {
  const { address } = await startHead("--tracing-startup-hook", `${module}#gated`);
  try {
    const reached = new Promise<() => void>((resolve) => {
      (globalThis as unknown as Gated).gate = resolve;
    });
    const starting = init({ address, logToDriver: false });
    const goOn = await within(reached, "the set-up");
    const over = shutdown();
    goOn();
    await within(Promise.allSettled([starting, over]), "shutdown");
    writeFileSync(file, "");
    await init({ mode: "inline" });
    const one = remote(function one() {
      return 1;
    });
    t.equal(await get(one.remote()), 1);
    await shutdown();
    t.same(written(), []);
  } finally {
    await polyray(["stop", "--address", address]);
  }
});
