// SPDX-License-Identifier: Apache-2.0
//
// Checks of single files: licence line, opening comment, size, names, machine paths, TODOs.
// Each is a pure function of path and text, so that test/ts/tidy can show that it finds.

const comment = /^\s*(\/\/|#|\*|\/\*)/;

/** The licence line stands in the first three lines. */
export function spdxFindings(source: string): string[] {
  const head = source.split("\n", 3).join("\n");
  return head.includes("SPDX-License-Identifier: Apache-2.0")
    ? []
    : ["1: no SPDX-License-Identifier line"];
}

/** A file opens with a comment (or docstring) that says what it is. */
export function headerFindings(path: string, source: string): string[] {
  const all = source.split("\n");
  if (source.trim() === "") return [];
  const start = all.findIndex(
    (line) => !/^#!|SPDX|^\s*(\/\/|#)?\s*$|^#pragma|^["']use strict/.test(line),
  );
  const first = all[start];
  if (first === undefined) return ["1: no opening comment"];
  if (/\.pyi?$/.test(path)) {
    return /^[rR]?("""|''')/.test(first) || comment.test(first)
      ? []
      : [`${start + 1}: no docstring that says what the file is`];
  }
  return comment.test(first) ? [] : [`${start + 1}: no opening comment that says what the file is`];
}

/** Files stay readable: no file past the limit. */
export function sizeFindings(source: string, limit: number): string[] {
  const count = source.split("\n").length;
  return count > limit ? [`${limit}: ${count} lines; the limit is ${limit}: split it`] : [];
}

const banned = /(Manager|Helper|Util|Utils|Misc|Impl)(?![a-z])/;

/** Names say what a thing is. */
export function nameFindings(path: string, source: string): string[] {
  const findings: string[] = [];
  const file = path.split("/").pop() ?? "";
  if (/(^|[-_])(manager|helper|helpers|util|utils|misc|impl)([-_.]|$)/.test(file)) {
    findings.push(`1: the file name '${file}' says nothing (manager, helper, util, misc, impl)`);
  }
  source.split("\n").forEach((line, index) => {
    const name =
      /^\s*(?:export\s+)?(?:default\s+)?(?:abstract\s+)?(?:class|struct|interface|enum(?:\s+class)?|type)\s+([A-Za-z_]\w*)/.exec(
        line,
      )?.[1];
    if (name !== undefined && banned.test(name))
      findings.push(`${index + 1}: the name ${name} says nothing`);
  });
  return findings;
}

/** Nothing in the tree knows the machine that it was written on. */
export function machineFindings(source: string): string[] {
  const findings: string[] = [];
  source.split("\n").forEach((line, index) => {
    if (/(^|[\s"'`(=:,])\/(work|root)\/[a-z.]/.test(line))
      findings.push(`${index + 1}: a path of one machine`);
    if (/registry\.npmjs|pypi\.org|pythonhosted\.org|registry\.yarnpkg/.test(line))
      findings.push(`${index + 1}: a registry's host`);
  });
  return findings;
}

/** A note for later names its issue: `TODO(#12)`. */
export function todoFindings(source: string): string[] {
  const findings: string[] = [];
  source.split("\n").forEach((line, index) => {
    if (/\b(TODO|FIXME|XXX|HACK)\b(?!\s*\(#\d+\)|:? #\d+)/.test(line))
      findings.push(`${index + 1}: a note for later without an issue number`);
  });
  return findings;
}

/** What a module exports is described: a doc comment above each exported declaration. */
export function exportDocFindings(source: string): string[] {
  const findings: string[] = [];
  const all = source.split("\n");
  const seen = new Set<string>();
  all.forEach((line, index) => {
    const name =
      /^export\s+(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|class|interface|type|const|let|enum)\s+(\w+)/.exec(
        line,
      )?.[1];
    if (name === undefined || seen.has(name)) return;
    seen.add(name);
    const above = (all[index - 1] ?? "").trim();
    if (!above.endsWith("*/") && !above.startsWith("//"))
      findings.push(`${index + 1}: ${name} is exported and has no comment`);
  });
  return findings;
}
