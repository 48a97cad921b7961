// SPDX-License-Identifier: Apache-2.0
// Which files of a folder are left out: patterns as in .gitignore (comments, !, trailing /, anchoring, *, ?, [..], **).
// Pure. Paths are relative to the folder of the patterns, with "/" between parts.

interface Rule {
  readonly matches: RegExp;
  readonly keep: boolean;
  readonly onlyFolders: boolean;
}

export class IgnoreRules {
  readonly #rules: readonly Rule[];

  constructor(lines: readonly string[]) {
    this.#rules = lines.flatMap((line) => rule(line) ?? []);
  }

  /** True: leave it out; false: a "!" pattern keeps it; null: no pattern speaks of it. */
  judge(path: string, isFolder: boolean): boolean | null {
    let outcome: boolean | null = null;
    for (const { matches, keep, onlyFolders } of this.#rules)
      if ((isFolder || !onlyFolders) && matches.test(path)) outcome = !keep;
    return outcome;
  }
}

function rule(line: string): Rule | null {
  let text = line.replace(/\r$/, "").replace(/(?<!\\)\s+$/, "");
  if (text === "" || text.startsWith("#")) return null;
  const keep = text.startsWith("!");
  if (keep) text = text.slice(1);
  const onlyFolders = text.endsWith("/");
  if (onlyFolders) text = text.slice(0, -1);
  const anchored = text.includes("/");
  if (text.startsWith("/")) text = text.slice(1);
  const body = pattern(text);
  return { matches: new RegExp(`^${anchored ? "" : "(?:.*/)?"}${body}$`), keep, onlyFolders };
}

function pattern(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (text.startsWith("**/", i)) {
      out += "(?:.*/)?";
      i += 2;
    } else if (text.startsWith("**", i)) {
      out += ".*";
      i += 1;
    } else if (c === "*") out += "[^/]*";
    else if (c === "?") out += "[^/]";
    else if (c === "[" && text.indexOf("]", i + 2) > 0) {
      const end = text.indexOf("]", i + 2);
      out += `[${text
        .slice(i + 1, end)
        .replace(/^!/, "^")
        .replace(/\\/g, "\\\\")}]`;
      i = end;
    } else if (c === "\\" && i + 1 < text.length) {
      i += 1;
      out += (text[i] as string).replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    } else out += c.replace(/[.+^${}()|[\]\\/]/g, "\\$&");
  }
  return out;
}
