// SPDX-License-Identifier: Apache-2.0
/** Goal: descriptors are snapshots, plain on the wire, and revive in the same process too. Method: describe and revive here. */

import t from "tap";
import type { FunctionNode } from "../../../../ts/object/function/descriptor.ts";
import {
  describeFunction,
  fromWire,
  loadModules,
  modulesOf,
  reviveFunction,
  reviveFunctionNow,
  toWire,
} from "../../../../ts/object/function/index.ts";

t.test("a description is kept until a new snapshot is asked for", async (t) => {
  let n = 1;
  const read = () => n;
  const first = describeFunction(read);
  n = 2;
  t.equal(describeFunction(read), first);
  t.equal((await reviveFunction(first))(), 1);
  t.equal((await reviveFunction(describeFunction(read, { snapshot: "now" })))(), 2);
  t.equal(n, 2);
});

t.test("the wire form keeps exact values and identity", async (t) => {
  const shared = new Map([["a", 1]]);
  const [nan, minusZero, big, absent] = [Number.NaN, -0, 10n, undefined];
  const held = { shared, again: shared };
  const fn = () => ({ shared, held, nan, minusZero, big, absent, text: "t" });
  const { json, values } = toWire(describeFunction(fn));
  t.equal(values.filter((value) => value === shared).length, 1, "each value once");
  t.doesNotThrow(() => JSON.parse(json));
  const result = (await reviveFunction(fromWire(json, values)))();
  t.equal(result.shared, shared);
  t.equal(result.held.again, shared);
  t.ok(Object.is(result.nan, Number.NaN) && Object.is(result.minusZero, -0));
  t.equal(result.big, 10n);
  t.equal(result.absent, undefined);
});

t.test("the wire form says which variable holds each value", async (t) => {
  const pool = new Map([["a", 1]]);
  const options = { pool: new Set([1]), run: () => 1 };
  const { names } = toWire(describeFunction(() => [pool, options]));
  t.same(names, ["pool", "pool"]);
});

t.test("what the codec carries itself is left to it", async (t) => {
  const handle = Object.assign(() => "handle", { id: 1 });
  const descriptor = describeFunction(() => handle, { isValue: (value) => value === handle });
  t.same(toWire(descriptor).values, [handle]);
  t.equal((await reviveFunction(descriptor))(), handle);
});

t.test("reviving at once asks for ES modules that are not loaded", async (t) => {
  const specifier = new URL("fixtures/alone.mjs", import.meta.url).href;
  const common = { kind: "module", name: "x", isClass: false, specifier, via: "import" } as const;
  const descriptor = { ...common, exportName: "alone", contentHash: null };
  const refs = modulesOf(descriptor);
  t.throws(() => reviveFunctionNow(descriptor), { name: "ModulesPending", refs });
  await loadModules(refs);
  t.equal(reviveFunctionNow(descriptor)(1), 3);
});

t.test("a stack of a function revived in its own process points at its line", async (t) => {
  function fails(): never {
    throw new Error("here");
  }
  const line = (stack: string) => /fails \(.*describe\.test\.ts:(\d+):/.exec(stack)?.[1];
  const stackOf = (fn: () => unknown): string => {
    try {
      return String(fn());
    } catch (error) {
      return String((error as Error).stack);
    }
  };
  const home = line(stackOf(fails));
  const revived = await reviveFunction(describeFunction(fails));
  t.ok(home);
  t.equal(line(stackOf(revived as () => unknown)), home);
});

t.test("a function with an unknown export is an error when it is revived", async (t) => {
  const specifier = new URL("../../../../ts/object/function/plain.ts", import.meta.url).href;
  const common = {
    kind: "module",
    name: "x",
    isClass: false,
    specifier,
    via: "import",
    contentHash: null,
  } as const;
  await t.rejects(reviveFunction({ ...common, exportName: "nothing" }), /no export "nothing"/);
  t.type(await reviveFunction({ ...common, exportName: "isPlainData" }), "function");
});

t.test("the loader of the caller is asked for each module once", async (t) => {
  const source = `export const two = 2;`;
  const asked: string[] = [];
  const node: FunctionNode = {
    type: "function",
    name: "f",
    form: "arrow",
    source: "() => a + b",
    strict: true,
    sourceUrl: null,
    line: 0,
    column: 0,
    anchors: null,
    properties: [],
    prototypeProperties: [],
    captured: ["a", "b"].map((name) => ({
      name,
      eager: false,
      capture: {
        kind: "module",
        exportName: "two",
        interop: "none",
        ref: { specifier: "./two.js", parentUrl: "file:///far/main.js", via: "import" },
      },
    })),
  };
  const fn = await reviveFunction(
    { kind: "value", name: "f", isClass: false, root: { kind: "node", node: 0 }, nodes: [node] },
    (ref) => {
      asked.push(`${ref.via} ${ref.specifier} ${ref.parentUrl}`);
      return import(`data:text/javascript,${encodeURIComponent(source)}`);
    },
  );
  t.equal(fn(), 4);
  t.same(asked, ["import ./two.js file:///far/main.js"]);
});
