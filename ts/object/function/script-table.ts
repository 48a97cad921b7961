// SPDX-License-Identifier: Apache-2.0
/**
 * Knows the scripts that functions come from: URL, running text, source map.
 *
 * The URL of a script id comes from a best-effort coverage listing (5 ms, no debugger). The text is
 * the file's when the function is found there at its own position; otherwise (transpiled sources,
 * evaluated code) it is asked from the debugger domain, which is enabled for that one question: the
 * first time in a process that costs 50-150 ms because V8 indexes every loaded script.
 * Invariant: a script's entry never changes once its text is known.
 */

import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload } from "node:module";
import { fileURLToPath } from "node:url";
import { post, withListener } from "./inspect.ts";

/** A compiled script. `line` and `column` are where V8 says the text starts. */
export interface Script {
  readonly url: string;
  text: string | null;
  line: number;
  column: number;
  /** Set for sources whose text carries an inline source map. */
  sourceMap: SourceMap | null;
  /** Offsets at which the lines of `text` start. */
  lineStarts: number[];
}

interface ScriptParsed {
  readonly scriptId: string;
  readonly url: string;
  readonly startLine: number;
  readonly startColumn: number;
}

const urls = new Map<string, string>();
const scripts = new Map<string, Script>();

/** The script of a function whose source is `source` at the given position of the script. */
export function scriptFor(scriptId: string, source: string, line: number, column: number): Script {
  let script = scripts.get(scriptId);
  if (script === undefined) {
    script = {
      url: urlOf(scriptId),
      text: null,
      line: 0,
      column: 0,
      sourceMap: null,
      lineStarts: [],
    };
    scripts.set(scriptId, script);
  }
  if (script.text === null) {
    setText(script, readSource(script.url));
    // Evaluated code without a name has no imports and no place: not worth asking.
    if (script.url !== "" && findSource(script, source, line, column) === null)
      loadFromDebugger(scriptId, script);
  }
  return script;
}

/** Offset of `source` in the script's text such that it covers the position, or null. */
export function findSource(
  script: Script,
  source: string,
  line: number,
  column: number,
): number | null {
  const { text } = script;
  if (text === null) return null;
  const row = line - script.line;
  const start = script.lineStarts[row];
  if (start === undefined) return null;
  const position = start + (row === 0 ? column - script.column : column);
  const found = text.lastIndexOf(source, position);
  return found !== -1 && found + source.length >= position ? found : null;
}

/** Zero-based position, as V8 reports it, of an offset in the script's text. */
export function positionAt(script: Script, offset: number): { line: number; column: number } {
  let low = 0;
  let high = script.lineStarts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((script.lineStarts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  const column = offset - (script.lineStarts[low] ?? 0);
  return { line: low + script.line, column: low === 0 ? column + script.column : column };
}

function urlOf(scriptId: string): string {
  if (!urls.has(scriptId)) {
    // Asked without Profiler.enable: its disable would end a coverage run of the program.
    try {
      const listing = post<{ result: { scriptId: string; url: string }[] }>(
        "Profiler.getBestEffortCoverage",
      );
      for (const entry of listing.result) urls.set(entry.scriptId, entry.url);
    } catch {
      // A V8 that wants it enabled: the debugger knows as well.
    }
  }
  if (!urls.has(scriptId)) withDebugger(() => undefined);
  return urls.get(scriptId) ?? "";
}

function withDebugger(run: (parsed: ReadonlyMap<string, ScriptParsed>) => void): void {
  const parsed = new Map<string, ScriptParsed>();
  const note = (params: ScriptParsed): void => {
    parsed.set(params.scriptId, params);
    if (!urls.has(params.scriptId)) urls.set(params.scriptId, params.url);
  };
  withListener<ScriptParsed>("Debugger.scriptParsed", note, () => {
    post("Debugger.enable");
    try {
      run(parsed);
    } finally {
      post("Debugger.disable");
    }
  });
}

function loadFromDebugger(scriptId: string, script: Script): void {
  withDebugger((parsed) => {
    const at = parsed.get(scriptId);
    if (at === undefined) return;
    const { scriptSource } = post<{ scriptSource: string }>("Debugger.getScriptSource", {
      scriptId,
    });
    script.line = at.startLine;
    script.column = at.startColumn;
    script.sourceMap = inlineSourceMap(scriptSource);
    setText(script, scriptSource);
  });
}

function setText(script: Script, text: string | null): void {
  script.text = text;
  script.lineStarts = [];
  if (text === null) return;
  script.lineStarts.push(0);
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) {
    script.lineStarts.push(at + 1);
  }
}

function readSource(url: string): string | null {
  try {
    if (url.startsWith("file:")) return readFileSync(fileURLToPath(url), "utf8");
    return url.startsWith("/") ? readFileSync(url, "utf8") : null;
  } catch {
    return null; // The source of an evaluated or bundled script need not be a file.
  }
}

function inlineSourceMap(text: string): SourceMap | null {
  const marker = "//# sourceMappingURL=data:application/json";
  const at = text.lastIndexOf(marker);
  if (at === -1) return null;
  const comma = text.indexOf("base64,", at);
  if (comma === -1) return null;
  const end = text.indexOf("\n", comma);
  const encoded = text.slice(comma + 7, end === -1 ? undefined : end).trim();
  try {
    const payload = Buffer.from(encoded, "base64").toString("utf8");
    return new SourceMap(JSON.parse(payload) as SourceMapPayload);
  } catch {
    return null; // A broken map only costs exact lines.
  }
}
