// SPDX-License-Identifier: Apache-2.0
/**
 * Everything known about where one function came from: its text, its scopes, its script, and the
 * module it belongs to.
 *
 * Asks V8 (inspect.ts) and the script table; keeps nothing itself.
 */

import { createHash } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import type { SourceMap } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Analysis, analyzeSource, breakableOffsets } from "./analyze.ts";
import type { FunctionNode } from "./descriptor.ts";
import { type Inspection, inspectFunction } from "./inspect.ts";
import { type ModuleTable, moduleTable } from "./module-table.ts";
import { revivedNodes } from "./registry.ts";
import { findSource, positionAt, type Script, scriptFor } from "./script-table.ts";

// biome-ignore lint/complexity/noBannedTypes: any function or class can be shipped.
export type AnyFunction = Function;

export interface Origin {
  readonly source: string;
  readonly analysis: Analysis;
  readonly inspection: Inspection;
  /** File URL or script name; null when V8 has none. */
  readonly url: string | null;
  readonly table: ModuleTable;
  /** Zero-based position of the first character of the source. */
  readonly line: number;
  readonly column: number;
  /** Offset in the script's text, null when it was not found there. */
  readonly offset: number | null;
  readonly script: Script | null;
  readonly strict: boolean;
  /** Set when a worker ships a function that it received. */
  readonly revived: FunctionNode | null;
}

/** Null for functions without JavaScript source in reach of the inspector. */
export function originOf(fn: AnyFunction): Origin | null {
  const inspection = inspectFunction(fn as (...args: never[]) => unknown);
  if (inspection === null) return null;
  const source = Function.prototype.toString.call(fn);
  const analysis = analyzeSource(source);
  const revived = revivedNodes.get(fn) ?? null;
  if (revived !== null) return revivedOrigin(source, analysis, inspection, revived);
  const script = scriptFor(inspection.scriptId, source, inspection.line, inspection.column);
  const offset = findSource(script, source, inspection.line, inspection.column);
  const start = offset === null ? inspection : positionAt(script, offset);
  const table = moduleTable(script);
  return {
    source,
    analysis,
    inspection,
    url: script.url === "" ? null : fileUrlOf(script.url),
    table,
    line: start.line,
    column: start.column,
    offset,
    script,
    strict: isStrict(fn, source, analysis, inspection, table),
    revived,
  };
}

/** Anchors by script and offset: closures made at one place share them. */
const anchorCache = new WeakMap<Script, Map<number, number[] | null>>();

/** Anchors for `layOut`: null unless the running text is transpiled and carries its map. */
export function anchorsOf(origin: Origin): readonly number[] | null {
  const { script, offset } = origin;
  if (script === null || script.sourceMap === null || offset === null) return null;
  let ofScript = anchorCache.get(script);
  if (ofScript === undefined) {
    ofScript = new Map();
    anchorCache.set(script, ofScript);
  }
  let anchors = ofScript.get(offset);
  if (anchors === undefined) {
    anchors = findAnchors(origin, script, script.sourceMap, offset);
    ofScript.set(offset, anchors);
  }
  return anchors;
}

function findAnchors(
  { source, analysis }: Origin,
  script: Script,
  sourceMap: SourceMap,
  offset: number,
): number[] | null {
  const anchors: number[] = [];
  for (const at of new Set([0, ...breakableOffsets(source, analysis.form)])) {
    const position = positionAt(script, offset + at);
    const [line, column] = [position.line - script.line, position.column];
    const entry = sourceMap.findEntry(line, column);
    if (!("originalLine" in entry)) continue;
    const exact = entry.generatedLine === line && entry.generatedColumn === column;
    if (exact || at === 0) anchors.push(at, entry.originalLine, entry.originalColumn);
  }
  return anchors[0] === 0 ? anchors : null;
}

/** True for the script the process was started with: a worker must not run it again. */
export function isMainUrl(url: string, mainUrls: readonly string[]): boolean {
  const plain = withoutQuery(url);
  return mainUrls.includes(plain) || plain === startedUrl();
}

/** The URL of `process.argv[1]`, found as Node finds it. */
function startedUrl(): string | null {
  const main = process.argv[1];
  if (main === undefined) return null;
  if (main !== started.main) {
    started.main = main;
    started.url = null;
    for (const suffix of [
      "",
      ".js",
      ".mjs",
      ".cjs",
      ".ts",
      ".mts",
      ".cts",
      ".tsx",
      "/index.js",
      "/index.ts",
    ]) {
      const path = main + suffix;
      try {
        const real = realpathSync(path);
        if (suffix === "" && !/\.[cm]?[jt]sx?$/.test(path)) readFileSync(real);
        started.url = pathToFileURL(real).href;
        break;
      } catch {
        // Not this one: a folder, or no such file.
      }
    }
  }
  return started.url;
}

const started: { main: string | null; url: string | null } = { main: null, url: null };

const hashes = new Map<string, string | null>();

/** SHA-256 of a module's file, read once per process. */
export function contentHashOf(url: string): string | null {
  let hash = hashes.get(url);
  if (hash === undefined) {
    try {
      const bytes = readFileSync(fileURLToPath(withoutQuery(url)));
      hash = createHash("sha256").update(bytes).digest("hex");
    } catch {
      hash = null; // Not a file of this machine: the worker loads it without a check.
    }
    hashes.set(url, hash);
  }
  return hash;
}

export function withoutQuery(url: string): string {
  const end = url.search(/[?#]/);
  return end === -1 ? url : url.slice(0, end);
}

function fileUrlOf(name: string): string {
  return name.startsWith("/") ? pathToFileURL(name).href : name;
}

function revivedOrigin(
  source: string,
  analysis: Analysis,
  inspection: Inspection,
  revived: FunctionNode,
): Origin {
  const { line, column, strict, sourceUrl } = revived;
  const [, originalLine = line, originalColumn = column] = revived.anchors ?? [];
  const table = moduleTable({ text: null });
  const at = { line: originalLine, column: originalColumn };
  const rest = { offset: null, script: null, strict, revived };
  return { source, analysis, inspection, url: sourceUrl, table, ...at, ...rest };
}

function isStrict(
  fn: AnyFunction,
  source: string,
  analysis: Analysis,
  inspection: Inspection,
  table: ModuleTable,
): boolean {
  if (table.isStrict || analysis.form === "class") return true;
  if (inspection.scopes.some((scope) => scope.type === "Module")) return true;
  // Only plain sloppy functions have `caller` of their own.
  const plain =
    analysis.form === "function" && source.startsWith("function") && !/^function\s*\*/.test(source);
  return plain && !Object.hasOwn(fn, "caller");
}
