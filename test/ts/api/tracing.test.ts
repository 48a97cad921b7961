// SPDX-License-Identifier: Apache-2.0
// Goal: `init({ tracing })`: its forms are checked, a missing package is named with the command that installs it, a set-up
// that fails is told, the variable stands for the option; without either nothing of OpenTelemetry is loaded; a traced call
// gives what a plain one gives, a value or an error. The spans over processes and languages: test/ts/mixed/tracing.test.ts.
// Method: the inline runtime with an SDK that keeps its spans; a resolver that hides the package; workers look at themselves.

import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { get, init, isInitialized, remote, shutdown } from "polyray";
import t from "tap";
import { rejection, thrown, withoutPackage } from "./harness.ts";

const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();

/** The names of the spans that ended since the last call, each with its parent's. */
function ended(): string[] {
  const spans = exporter.getFinishedSpans();
  const byId = new Map(spans.map((span) => [span.spanContext().spanId, span.name]));
  const names = spans.map((span) => {
    const parent = byId.get(span.parentSpanContext?.spanId ?? "");
    return parent === undefined ? span.name : `${parent} > ${span.name}`;
  });
  exporter.reset();
  return names.sort();
}

const sum = remote(function total(a: number, b: number) {
  return a + b;
});
const ofTotal = ["total ray.remote", "total ray.remote > total ray.remote_worker"];

t.test("the inline mode makes the same spans; after shutdown there are none", async (t) => {
  class Adder {
    async add(a: number, b: number): Promise<number> {
      return await get(sum.remote(a, b));
    }
  }
  await init({ mode: "inline", tracing: true });
  t.equal(await get(remote(Adder).remote().add.remote(1, 2)), 3);
  t.same(ended(), [
    "Adder.add ray.remote",
    "Adder.add ray.remote > Adder.add ray.remote_worker",
    "Adder.add ray.remote_worker > total ray.remote",
    "Adder.constructor ray.remote",
    "Adder.constructor ray.remote > Adder.constructor ray.remote_worker",
    "total ray.remote > total ray.remote_worker",
  ]);
  await shutdown();
  await init({ mode: "inline" });
  t.equal(await get(sum.remote(1, 2)), 3);
  t.same(ended(), []);
  await shutdown();
});

t.test("a submission that throws is a failed span", async (t) => {
  await init({ mode: "inline", tracing: true });
  thrown(() => remote((x: unknown) => x).remote(new WeakMap()));
  t.match(exporter.getFinishedSpans(), [{ status: { code: 2 } }]);
  t.match(exporter.getFinishedSpans()[0]?.events, [{ name: "exception" }]);
  exporter.reset();
  await shutdown();
});

t.test("a lazy thenable runs once", async (t) => {
  let runs = 0;
  const query = remote(function query() {
    return { then: (done: (value: number) => void) => done(++runs) };
  });
  await init({ mode: "inline", tracing: true });
  t.equal(await get(query.remote() as never), 1);
  t.equal(runs, 1);
  t.same(ended(), ["query ray.remote", "query ray.remote > query ray.remote_worker"]);
  await shutdown();
});

t.test("what a body throws arrives as it does without tracing", async (t) => {
  const fails = remote(function fails() {
    throw Object.create(null); // it has no text
  });
  const later = remote(async function later() {
    throw Object.create(null);
  });
  const found: unknown[] = [];
  for (const tracing of [false, true]) {
    await init({ mode: "inline", tracing });
    for (const one of [fails, later]) {
      const { name, code, message } = await rejection(get(one.remote()));
      found.push([name, code, message.replace(/[0-9a-f]{16,}/g, "ID")]);
    }
    await shutdown();
  }
  t.same(found.slice(2), found.slice(0, 2));
  const runs = exporter.getFinishedSpans().filter((span) => span.name.endsWith("_worker"));
  const codes = runs.map((span) => span.status.code);
  t.same(codes, [2, 2], "each failed, and ended once");
  exporter.reset();
});

t.test("POLYRAY_TRACING stands for the option, which goes before it", async (t) => {
  t.teardown(() => delete process.env.POLYRAY_TRACING);
  for (const [variable, option, names] of [
    ["1", undefined, ofTotal],
    ["{}", undefined, ofTotal],
    ["0", undefined, []],
    ["1", false, []],
    ["0", true, ofTotal],
  ] as const) {
    process.env.POLYRAY_TRACING = variable;
    await init({ mode: "inline", ...(option === undefined ? {} : { tracing: option }) });
    await get(sum.remote(1, 2));
    t.same(ended(), names, `${variable} ${option}`);
    await shutdown();
  }
  process.env.POLYRAY_TRACING = '{"setup":1}';
  t.match(await rejection(init()), {
    code: "INVALID_OPTION",
    message: /POLYRAY_TRACING.*setup is 1/,
  });
});

t.test("another form of the option is refused", async (t) => {
  for (const tracing of [
    1,
    "on",
    [],
    { setup: "no-export" },
    { pythonSetup: "m#f" },
    { hook: "a#b" },
  ])
    t.match(await rejection(init({ tracing: tracing as never })), {
      code: "INVALID_OPTION",
      message: /tracing must be true, false or/,
    });
  t.notOk(isInitialized());
});

t.test("a set-up that is not there or fails is told, and nothing runs", async (t) => {
  const source =
    "data:text/javascript,export const fails = () => { throw new Error('no exporter') };";
  t.match(await rejection(init({ tracing: { setup: `${source}#fails` } })), {
    message: "no exporter",
  });
  t.match(await rejection(init({ tracing: { setup: `${source}#other` } })), {
    code: "INVALID_OPTION",
    message: /has no function "other"/,
  });
  t.notOk(isInitialized());
});

t.test("a set-up that only the variable names must run before the first use", async (t) => {
  const source = "data:text/javascript,export const works = () => { globalThis.setUps = 1 };";
  process.env.POLYRAY_TRACING = JSON.stringify({ setup: `${source}#works` });
  t.teardown(() => delete process.env.POLYRAY_TRACING);
  t.match(
    thrown(() => sum.remote(1, 2)),
    { code: "NOT_INITIALIZED", message: /call init\(\) first: tracing has a set-up/ },
  );
  t.notOk(isInitialized());
  await init({ mode: "inline" });
  t.equal((globalThis as { setUps?: number }).setUps, 1);
  t.equal(await get(sum.remote(1, 2)), 3);
  t.same(ended(), ofTotal);
  await shutdown();
});

t.test("without the package the error names the command that installs it", (t) =>
  withoutPackage("@opentelemetry/api", async () => {
    for (const tracing of [true, { setup: "m#f" }, { setup: "m#f", pythonSetup: "m:f" }])
      t.match(await rejection(init({ mode: "inline", tracing })), {
        code: "INVALID_OPTION",
        message: /npm install @opentelemetry\/api/,
      });
    t.notOk(isInitialized());
  }),
);

t.test("tracing for Python's sake alone does not need the package", (t) =>
  withoutPackage("@opentelemetry/api", async () => {
    t.teardown(() => delete process.env.POLYRAY_TRACING);
    const tracing = { pythonSetup: "m:f" };
    for (const options of [{ tracing }, {}]) {
      await init({ mode: "inline", ...options });
      t.equal(await get(sum.remote(1, 2)), 3);
      t.same(ended(), []);
      await shutdown();
      process.env.POLYRAY_TRACING = JSON.stringify(tracing);
    }
  }),
);

t.test("a worker loads nothing of it unless it is on", async (t) => {
  const loaded = remote(async () => {
    const { createRequire } = await import("node:module");
    const files = Object.keys(createRequire("/nowhere.js").cache);
    return files.some((file) => file.includes("@opentelemetry"));
  });
  for (const tracing of [false, true]) {
    await init({ numCpus: 1, tracing });
    t.equal(await get(loaded.remote()), tracing);
    await shutdown();
  }
});
