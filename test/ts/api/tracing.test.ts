// SPDX-License-Identifier: Apache-2.0
// Goal: `init({ tracing })`: its forms are checked, a missing package is named with the command that installs it, a set-up
// that fails is told, the variable stands for the option; without either nothing of OpenTelemetry is loaded. The spans over
// processes and languages: test/ts/mixed/tracing.test.ts.
// Method: the inline runtime with an SDK that keeps its spans; a resolver that hides the package; workers look at themselves.

import Module from "node:module";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { get, init, isInitialized, remote, shutdown } from "polyray";
import t from "tap";
import { rejection, thrown } from "./harness.ts";

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

const sum = remote(
  function total(a: number, b: number) {
    return a + b;
  },
  { name: "total" },
);
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

t.test("without the package the error names the command that installs it", async (t) => {
  const loader = Module as unknown as {
    _resolveFilename: (name: string, ...rest: unknown[]) => string;
  };
  const plain = loader._resolveFilename;
  loader._resolveFilename = (name, ...rest) => {
    if (name === "@opentelemetry/api") throw new Error("not installed");
    return plain(name, ...rest);
  };
  try {
    t.match(await rejection(init({ tracing: true })), {
      code: "INVALID_OPTION",
      message: /npm install @opentelemetry\/api/,
    });
    t.notOk(isInitialized());
  } finally {
    loader._resolveFilename = plain;
  }
});

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
