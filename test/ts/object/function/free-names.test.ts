// SPDX-License-Identifier: Apache-2.0
/** Goal: the free names of a source are exactly those it takes from outside. Method: sources and their names, in tables. */

import { runInThisContext } from "node:vm";
import t from "tap";
import { analyzeSource, breakableOffsets } from "../../../../ts/object/function/analyze.ts";
import { readTable } from "../../../../ts/object/function/module-table.ts";

function freeNames(source: string): string[] {
  return [...analyzeSource(source).names.keys()].sort();
}

t.test("free names", async (t) => {
  const cases: [source: string, names: string[]][] = [
    ["(a, b = c, { d, e: f = g, [h]: i }, [j, ...k]) => a + d + f + i + j + k", ["c", "g", "h"]],
    ["function f() { return f(x) }", ["x"]],
    ["() => { { let a = 1; } return a }", ["a"]],
    ["() => { if (1) { var a = 1; } return a }", []],
    ["() => { use(); function use() { return late } let late = 1 }", []],
    ["() => { try { a() } catch ({ message }) { b(message) } }", ["a", "b"]],
    ["() => { for (const x of xs) y(x); return x }", ["x", "xs", "y"]],
    ["() => { for (x of xs); for (k in o); }", ["k", "o", "x", "xs"]],
    ["() => { l: for (;;) { break l } }", []],
    ["() => o.a.b[c]?.d", ["c", "o"]],
    [
      "() => ({ a, b: c, [d]: 1, e() { return f }, get g() { return h } })",
      ["a", "c", "d", "f", "h"],
    ],
    [
      "class A extends B { static x = C; #p = d; m(e) { return e + this.#p + A.x + F } static { G(this) } }",
      ["C", "F", "G", "d"],
    ],
    ["m(a) { return a + b }", ["b"]],
    ["async *m() { yield* a; await b }", ["a", "b"]],
    ["get v() { return a }", ["a"]],
    ["[key]() { return a }", ["a"]],
    ["() => tag`x${y}`", ["tag", "y"]],
    ["() => { class K { k() { return K } } return new K() }", []],
    ["() => import(a)", ["a"]],
    ["() => { [a, b.c] = d; ({ e, f: g = 1 } = h); }", ["a", "b", "d", "e", "g", "h"]],
    ["() => typeof a === 'undefined'", ["a"]],
  ];
  for (const [source, names] of cases) t.same(freeNames(source), names, source);
});

t.test("writes, eager uses and what the surroundings must give are told", async (t) => {
  const writes = analyzeSource("() => { a = 1; b++; [c] = d; ({ e } = f); for (g of h); i }").names;
  const assigned = [...writes.values()].filter((name) => name.assigned).map(({ name }) => name);
  t.same(assigned, ["a", "b", "c", "e", "g"]);
  const eager = analyzeSource(
    "class A { static a = b; static { c() } d = e; f() { g() } static h = () => i; [j]() {} }",
  ).names;
  t.same(
    [...eager.values()].filter((name) => name.eager).map(({ name }) => name),
    ["b", "c", "j"],
  );
  const lexical = (source: string) => [...analyzeSource(source).lexical];
  t.same(lexical("() => this.a"), ["this"]);
  t.same(lexical("() => super.a"), ["super"]);
  t.throws(() => analyzeSource("() => new.target"), /new\.target/);
  t.same(lexical("() => () => arguments"), ["arguments"]);
  t.same(lexical("function f() { return () => [this, arguments, new.target] }"), []);
  t.same(lexical("m() { super.m() }"), ["super"]);
  t.same(lexical("() => ({ m() { super.m(); return this } })"), []);
  t.same(lexical("class A extends B { a = this; m() { super.m() } static { this.b = 1 } }"), []);
});

t.test("a private method alone cannot be read", async (t) => {
  t.throws(() => analyzeSource("#m() {}"), /private names/);
  t.throws(() => analyzeSource("m() { return this.#p }"), /private names/);
});

t.test("line breaks at breakable offsets leave the value as it is", async (t) => {
  const source =
    "(a)=>{let s=`x${a+1}\ty`;let i=0;i++;const f=async b=>{return{b}};if(/=>/.test(s))return 1;return[s,i,typeof f]}";
  const offsets = breakableOffsets(source, "arrow");
  t.ok(offsets.length > 20);
  let broken = source;
  for (const offset of offsets.toReversed())
    broken = `${broken.slice(0, offset)}\n${broken.slice(offset)}`;
  const [before, after] = [source, broken].map(
    (text) => runInThisContext(`(${text})`) as (a: number) => unknown,
  );
  t.same(after?.(1), before?.(1));
  t.same(after?.(1), ["x2\ty", 1, "function"]);
});

t.test("a module's imports, requires and exports are read from its text", async (t) => {
  const esm =
    readTable(`import a, { b as c } from "x"; import * as d from "y"; import e from "z" with { type: "json" };
    const f = await import("w"); const { g: h } = await import("v"); let i = await import("u");
    export { c as j }; export const k = 1, l = 2; export default function m() {} export class N {} export * from "q";`);
  t.same(
    [...esm.imports].map(
      ([local, { specifier, exportName }]) => `${local}=${specifier}#${exportName}`,
    ),
    ["a=x#default", "c=x#b", "d=y#*", "e=z#default", "f=w#*", "h=v#g"],
  );
  t.equal(esm.imports.get("e")?.hasAttributes, true);
  t.same(
    [...esm.exports],
    [
      ["c", "j"],
      ["k", "k"],
      ["l", "l"],
      ["m", "default"],
      ["N", "N"],
    ],
  );
  const cjs =
    readTable(`"use strict"; var import_a = __toESM(require("a"), 1); const { b, c: d } = require("b");
    const e = require("e").f; var g = (0, tslib_1.__importStar)(require("g")); let h = __importDefault(require("h")); var i = load("i");`);
  t.equal(cjs.isStrict, true);
  t.same(
    [...cjs.requires]
      .map(
        ([local, [found]]) =>
          `${local}=${found?.specifier}.${found?.member ?? ""} ${found?.interop}`,
      )
      .sort(),
    ["b=b.b none", "d=b.c none", "e=e.f none", "g=g. esm", "h=h. default", "import_a=a. node"],
  );
});
