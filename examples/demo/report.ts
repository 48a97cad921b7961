// SPDX-License-Identifier: Apache-2.0
//
// The demo's report: pure text out of plain data.

import type { Phase } from "./live.ts";

/** One model on one data set, as both languages saw it. */
export interface ModelLine {
  readonly dataset: string;
  readonly model: string;
  readonly python: number;
  readonly typescript: number;
  readonly top2: number;
  readonly macroF1: number;
}

/** A group of processes that did one kind of work. */
export interface Role {
  readonly role: string;
  readonly where: string;
  readonly pids: readonly number[];
}

/** Bytes that a reader found in the shared segment. */
export interface Crossing {
  readonly what: string;
  readonly bytes: number;
  readonly reads: number;
}

/** Everything that the report shows. */
export interface Report {
  readonly models: readonly ModelLine[];
  readonly best: { readonly title: string; readonly matrix: readonly (readonly number[])[] };
  readonly roles: readonly Role[];
  readonly crossings: readonly Crossing[];
  readonly parquet: { readonly rows: number; readonly bytes: number; readonly models: number };
  readonly phases: readonly Phase[];
}

/** The report as text. */
export function renderReport(report: Report): string {
  return [
    section("Accuracy, counted in Python and again in TypeScript", modelTable(report.models)),
    section(report.best.title, matrixTable(report.best.matrix)),
    section(
      "Who ran where",
      table(report.roles.map((each) => [each.role, each.where, `pid ${each.pids.join(", ")}`])),
    ),
    section(
      "Read in place, out of shared memory, without a copy",
      table([
        ["what", "reads", "bytes"],
        ...report.crossings.map((each) => [each.what, `${each.reads}`, megabytes(each.bytes)]),
      ]),
    ),
    section("Results in Parquet", [
      `${report.parquet.rows} rows and ${report.parquet.models} pickled models written by Spark ` +
        `(${megabytes(report.parquet.bytes)}), read back, equal`,
    ]),
    section(
      "Seconds",
      table([
        ...report.phases.map((each) => [each.name, each.seconds.toFixed(1)]),
        ["all", report.phases.reduce((sum, each) => sum + each.seconds, 0).toFixed(1)],
      ]),
    ),
  ].join("\n");
}

function modelTable(models: readonly ModelLine[]): string[] {
  const rows = models.map((each) => [
    each.dataset,
    each.model,
    percent(each.python),
    percent(each.typescript),
    percent(each.top2),
    each.macroF1.toFixed(3),
  ]);
  return table([["data", "model", "Python", "TypeScript", "top 2", "macro F1"], ...rows]);
}

function matrixTable(matrix: readonly (readonly number[])[]): string[] {
  const header = ["", ...matrix.map((_, column) => `${column}`)];
  const rows = matrix.map((row, label) => [
    `${label}`,
    ...row.map((n) => (n === 0 ? "." : `${n}`)),
  ]);
  return table([header, ...rows]);
}

function section(title: string, lines: readonly string[]): string {
  return `\n${title}\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** Columns of equal width; numbers (and what looks like them) to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const right = Array.from({ length: columns }, (_, column) =>
    rows
      .slice(rows.length > 1 ? 1 : 0)
      .every((row) => /^(\.|[\d.]+( %| MB)?)$/.test(row[column] ?? "")),
  );
  return rows.map((row) =>
    row
      .map((cell, column) =>
        right[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}
