// SPDX-License-Identifier: Apache-2.0
/**
 * Reads a function's own source text: its syntax form, its free names and the places where the text
 * must change before it can be compiled somewhere else.
 *
 * Pure apart from a cache keyed by the text. All offsets are into the text as
 * `Function.prototype.toString` gives it.
 */

import { type Options, parse, type Token } from "acorn";
import type { SourceForm } from "./descriptor.ts";
import { type AstNode, child, children, type FreeNames, findFreeNames } from "./free-names.ts";

export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface Analysis extends FreeNames {
  readonly form: SourceForm;
  /** The expression after `extends`, except `null`. */
  readonly superClass: Range | null;
  /** `[expr]` of a method with a computed key. */
  readonly computedKey: Range | null;
  /** Names of static fields and static members declared in the class body. */
  readonly staticNames: ReadonlySet<string>;
  readonly staticFields: ReadonlySet<string>;
}

/** Why a source cannot be read on its own. */
export class SourceProblem extends Error {}

const options: Options = {
  ecmaVersion: "latest",
  sourceType: "script",
  allowImportExportEverywhere: true,
  allowAwaitOutsideFunction: true,
  allowSuperOutsideMethod: true, // Found and refused by name, see `Lexical`.
};

const cache = new Map<string, Analysis>();
const cacheLimit = 2_000;

/** Analyses the source of one function, method or class. */
export function analyzeSource(source: string): Analysis {
  let found = cache.get(source);
  if (found === undefined) {
    found = analyze(source);
    if (cache.size >= cacheLimit) cache.clear();
    cache.set(source, found);
  }
  return found;
}

/** Start offsets of the tokens before which a line break changes nothing, ascending. */
export function breakableOffsets(source: string, form: SourceForm): number[] {
  const prefix = isMethodForm(form) ? "({" : "(";
  const text = `${prefix}${source}\n${isMethodForm(form) ? "})" : ")"}`;
  const tokens: Token[] = [];
  parse(text, { ...options, onToken: tokens });
  const offsets: number[] = [];
  let previous = "";
  let previousLabel = "";
  for (const token of tokens) {
    const word = text.slice(token.start, token.end);
    const inTemplate = token.type.label === "template" || word === "${" || previous === "`";
    const closesTemplate = word === "`" && previousLabel === "template";
    if (!inTemplate && !closesTemplate && !noBreakBefore.has(word) && !noBreakAfter.has(previous)) {
      offsets.push(token.start - prefix.length);
    }
    previous = word;
    previousLabel = token.type.label;
  }
  return offsets.filter((offset) => offset >= 0 && offset < source.length);
}

const noBreakBefore = new Set(["=>", "++", "--"]);
const noBreakAfter = new Set([
  "return",
  "throw",
  "break",
  "continue",
  "yield",
  "async",
  "await",
  "using",
  "static",
  "get",
  "set",
]);

export function isMethodForm(form: SourceForm): boolean {
  return form === "method" || form === "getter" || form === "setter";
}

function analyze(source: string): Analysis {
  const expression = tryParse(`(${source}\n)`);
  if (expression.root !== null && isFunctionLike(expression.root)) {
    return describe(shift(expression.root, 1), formOf(expression.root), null);
  }
  const asMember = tryParse(`({${source}\n})`);
  const member = asMember.root === null ? undefined : children(asMember.root, "properties")[0];
  if (member !== undefined) return describeMethod(shift(member, 2));
  const isArrow = /^(async\b\s*)?(\(|[\w$]+\s*=>)/.test(source);
  throw new SourceProblem(problemText(source, isArrow ? expression.problem : asMember.problem));
}

function problemText(source: string, problem: string): string {
  if (problem.includes("new.target")) return "it uses `new.target` of the function around it";
  if (source.startsWith("#") || /private (name|field)/i.test(problem)) {
    return "it uses private names (#...) of a class it was taken out of; ship the class instead";
  }
  return `its source cannot be read (${problem})`;
}

function tryParse(text: string): { root: AstNode | null; problem: string } {
  try {
    const program = parse(text, options) as unknown as AstNode;
    const statement = children(program, "body")[0];
    return { root: statement === undefined ? null : child(statement, "expression"), problem: "" };
  } catch (error) {
    return { root: null, problem: (error as Error).message };
  }
}

function isFunctionLike(node: AstNode): boolean {
  return (
    node.type === "FunctionExpression" ||
    node.type === "ArrowFunctionExpression" ||
    node.type === "ClassExpression"
  );
}

function formOf(node: AstNode): SourceForm {
  if (node.type === "ClassExpression") return "class";
  return node.type === "ArrowFunctionExpression" ? "arrow" : "function";
}

/** Moves the offsets of a tree left, in place: the tree is ours. */
function shift(root: AstNode, by: number): AstNode {
  const seen = new Set<unknown>([root]);
  for (const item of seen) {
    const node = item as { start?: number; end?: number; type?: unknown };
    if (typeof node.type === "string") {
      node.start = (node.start ?? 0) - by;
      node.end = (node.end ?? 0) - by;
    }
    for (const value of Object.values(node)) {
      if (typeof value === "object" && value !== null && !(value instanceof RegExp))
        seen.add(value);
    }
  }
  return root;
}

function describe(root: AstNode, form: SourceForm, computedKey: Range | null): Analysis {
  const superNode = form === "class" ? child(root, "superClass") : null;
  const heritage = superNode !== null && superNode["raw"] !== "null" ? superNode : null;
  const staticNames = new Set<string>();
  const staticFields = new Set<string>();
  const body = form === "class" ? child(root, "body") : null;
  for (const member of body === null ? [] : children(body, "body")) {
    const key = child(member, "key");
    if (member["static"] !== true || member["computed"] === true || key === null) continue;
    const name = String(key["name"] ?? key["value"]);
    staticNames.add(name);
    if (member.type === "PropertyDefinition" && key.type !== "PrivateIdentifier")
      staticFields.add(name);
  }
  const free = findFreeNames(root, heritage, form === "class");
  return { ...free, form, superClass: heritage, computedKey, staticNames, staticFields };
}

function describeMethod(member: AstNode): Analysis {
  const kinds: Record<string, SourceForm> = { get: "getter", set: "setter" };
  const form = kinds[String(member["kind"])] ?? "method";
  const value = child(member, "value");
  if (value === null) throw new SourceProblem("its source is not a method");
  const key = child(member, "key");
  const computed = member["computed"] === true && key !== null;
  return describe(value, form, computed ? { start: key.start, end: key.end } : null);
}
