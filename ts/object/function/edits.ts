// SPDX-License-Identifier: Apache-2.0
/**
 * Changes a function's text where names must change, and lays transpiled text out on the lines of
 * its original. Pure.
 *
 * Invariants: 1. edits do not overlap; 2. a line break or space is put in only at an anchor, and
 * anchors are places where white space has no meaning (see `breakableOffsets`).
 */

import type { Analysis, Range } from "./analyze.ts";
import type { Reference } from "./free-names.ts";

export interface Edit extends Range {
  readonly text: string;
}

/** Names that edited sources use; a program has no such names of its own. */
export const superName = "$$super";
export const importMetaName = "$importMeta";
export const cellName = (index: number): string => `$$cell${index}`;

/** The edits each source needs wherever it goes. */
export function standingEdits(source: string, analysis: Analysis): Edit[] {
  const edits: Edit[] = [];
  if (analysis.superClass !== null) {
    edits.push(padded(analysis.superClass, superName, source));
  }
  if (analysis.computedKey !== null) edits.push(padded(analysis.computedKey, '"m"', source));
  // The same length as `import.meta`, so that columns stay.
  for (const range of analysis.importMeta) edits.push(padded(range, importMetaName, source));
  return edits;
}

/** The edit that turns one use of a variable into a use of a shared cell. */
export function cellEdit(name: string, reference: Reference, cell: string): Edit {
  const { start, end } = reference;
  if (reference.shorthand) return { start, end, text: `${name}: ${cell}.v` };
  // Called plainly, as the variable was: the cell must not become `this`.
  return { start, end, text: reference.callee ? `(0, ${cell}.v)` : `${cell}.v` };
}

/** Applies edits; `offsets` are moved along. */
export function applyEdits(
  source: string,
  edits: readonly Edit[],
  offsets: readonly number[],
): { source: string; offsets: number[] } {
  const sorted = [...edits].sort((a, b) => a.start - b.start);
  let text = "";
  let at = 0;
  const moves: { from: number; by: number }[] = [];
  let grown = 0;
  for (const edit of sorted) {
    text += source.slice(at, edit.start) + edit.text;
    at = edit.end;
    grown += edit.text.length - (edit.end - edit.start);
    moves.push({ from: edit.end, by: grown });
  }
  text += source.slice(at);
  const moved = offsets.map((offset) => {
    let by = 0;
    for (const move of moves) if (move.from <= offset) by = move.by;
    return offset + by;
  });
  return { source: text, offsets: moved };
}

/** Puts each anchored token on its original line and, where there is room, column. */
export function layOut(source: string, anchors: readonly number[]): string {
  let text = "";
  let at = 0;
  let line = anchors[1] ?? 0;
  let column = anchors[2] ?? 0;
  const take = (until: number): void => {
    const piece = source.slice(at, until);
    const breaks = piece.split("\n");
    line += breaks.length - 1;
    column = breaks.length === 1 ? column + piece.length : (breaks.at(-1) ?? "").length;
    text += piece;
    at = until;
  };
  for (let index = 0; index < anchors.length; index += 3) {
    const [offset = 0, toLine = 0, toColumn = 0] = anchors.slice(index, index + 3);
    take(offset);
    if (toLine > line) {
      text += "\n".repeat(toLine - line);
      line = toLine;
      column = 0;
    }
    if (toLine === line && toColumn > column) {
      text += " ".repeat(toColumn - column);
      column = toColumn;
    }
  }
  take(source.length);
  return text;
}

function padded(range: Range, text: string, source: string): Edit {
  const replaced = source.slice(range.start, range.end);
  const breaks = replaced.split("\n").length - 1;
  const room =
    breaks > 0 ? "\n".repeat(breaks) : " ".repeat(Math.max(0, replaced.length - text.length));
  return { start: range.start, end: range.end, text: text + room };
}
