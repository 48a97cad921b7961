// SPDX-License-Identifier: Apache-2.0
// How the command prints: aligned tables that fit the terminal, rows as blocks, sizes for people. Pure; no colour anywhere.

import { isRecord } from "../core/checks.ts";

/** A column of a table. */
export interface Column<R> {
  readonly title: string;
  readonly text: (row: R) => string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
  /** May be cut when the line is too long. Ids are not: they are copied into other commands. */
  readonly cut?: boolean;
  /** Left out when it says "-" in every row. */
  readonly optional?: boolean;
}

const gap = "  ";
const leastCut = 8;

/** Columns of the terminal; 80 when there is none. */
export function terminalWidth(): number {
  const asked = Number(process.env.COLUMNS);
  return process.stdout.columns ?? (asked > 0 ? asked : 80);
}

/** Lines of a table, its titles first. */
export function table<R>(
  rows: readonly R[],
  all: readonly Column<R>[],
  width = terminalWidth(),
): string[] {
  const columns = all.filter(
    (column) => column.optional !== true || rows.some((row) => column.text(row) !== "-"),
  );
  const cells = [columns.map((column) => column.title)].concat(
    rows.map((row) => columns.map((column) => oneLine(column.text(row)))),
  );
  const widths = columns.map((_column, i) => Math.max(...cells.map((line) => letters(line[i]))));
  let over = widths.reduce((sum, one) => sum + one + gap.length, -gap.length) - width;
  while (over > 0) {
    const widest = columns
      .map((column, i) => (column.cut === true ? i : -1))
      .filter((i) => i >= 0 && (widths[i] as number) > leastCut)
      .sort((a, b) => (widths[b] as number) - (widths[a] as number))[0];
    if (widest === undefined) break;
    widths[widest] = (widths[widest] as number) - 1;
    over--;
  }
  return cells.map((line) =>
    line
      .map((cell, i) => fitted(cell, widths[i] as number, columns[i]?.right === true))
      .join(gap)
      .trimEnd(),
  );
}

const letters = (text: string | undefined): number => [...(text ?? "")].length;

function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names are the user's: no escape reaches the terminal
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function fitted(text: string, width: number, right: boolean): string {
  const all = [...text];
  const shown = all.length <= width ? text : `${all.slice(0, width - 1).join("")}…`;
  const space = " ".repeat(Math.max(0, width - letters(shown)));
  return right ? space + shown : shown + space;
}

/** A row as `field: value` lines; nested values are indented. */
export function block(row: Readonly<Record<string, unknown>>, indent = ""): string[] {
  return Object.entries(row).flatMap(([key, value]) => {
    if (Array.isArray(value) && value.length > 0)
      return [
        `${indent}${key}:`,
        ...value.flatMap((one) => {
          if (!isRecord(one)) return [`${indent}  - ${scalar(one)}`];
          const [first = "", ...rest] = block(one, `${indent}    `);
          return [`${indent}  - ${first.trimStart()}`, ...rest];
        }),
      ];
    if (isRecord(value) && Object.keys(value).length > 0)
      return [`${indent}${key}:`, ...block(value, `${indent}  `)];
    return [`${indent}${key}: ${scalar(value)}`];
  });
}

// As YAML reads it: texts that could be taken for something else are quoted.
function scalar(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[A-Za-z_/.][A-Za-z0-9_/. -]*$/.test(value) &&
    !/^(true|false|null|yes|no|on|off)$/i.test(value)
    ? value
    : JSON.stringify(value);
}

/** Bytes for people: "1.5 MiB". */
export function size(bytes: number): string {
  if (bytes < 0) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

/** A count for people, at most six letters: "12345", "1.2M". */
export function count(value: number): string {
  if (value < 100_000) return String(value);
  const units = ["", "k", "M", "G", "T", "P"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(value < 100 ? 1 : 0)}${units[unit]}`;
}

/** A time of the day, with its date. */
export function when(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").slice(0, 19);
}

/** Prints lines, or one JSON document. A reader that went away (`| head`) is no failure. */
export function print(lines: readonly string[]): void {
  process.stdout.write(lines.length === 0 ? "" : `${lines.join("\n")}\n`);
}

/** Prints one JSON document. */
export function printJson(value: unknown): void {
  process.stdout.write(
    `${JSON.stringify(value, (_key, one) => (typeof one === "bigint" ? Number(one) : one), process.stdout.isTTY ? 2 : 0)}\n`,
  );
}
