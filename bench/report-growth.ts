// SPDX-License-Identifier: Apache-2.0
//
// The growth curves in Markdown.

import { type Curve, curves, type Growth, growthRows } from "./growth.ts";

/** The section of the growth curves; empty when none were run. */
export function growthSection(growth: readonly Growth[]): string {
  if (growth.length === 0) return "";
  const found = curves(growth);
  const broken = growth.flatMap(({ contestant, row, failed }) =>
    failed === null ? [] : [`- ${contestant}, ${row}: failed: ${failed}`],
  );
  return [
    "## Cost as the load grows",
    "Cost of one unit (one task, call, actor, object, get; a KiB of a put) at each load: microseconds, or bytes for memory (of all processes, shared pages once). Rise: the largest load to the smallest (at most 1.25). Power: the whole cost grows with the load to that power over the last three loads (at most 1.15; 1 is linear). **Bold** breaks the rule.",
    ...growthRows.flatMap(({ name, of }) => table(name, of, found)),
    ...(broken.length === 0 ? [] : ["", ...broken]),
  ].join("\n");
}

function table(row: string, of: "units" | "bytes", all: readonly Curve[]): string[] {
  const own = all.filter((curve) => curve.row === row);
  const loads = [...new Set(own.flatMap(({ points }) => points.map(({ load }) => load)))].toSorted(
    (a, b) => a - b,
  );
  if (own.length === 0) return [];
  const lines = own.map((curve) => {
    const cells = loads.map((load) => {
      const cost = curve.points.find((point) => point.load === load)?.cost;
      return cost === undefined ? "" : figure(cost);
    });
    const marks = [`${curve.rise.toFixed(2)}`, curve.power.toFixed(2)];
    const shown = curve.keeps ? marks : marks.map((mark) => `**${mark}**`);
    return `| ${curve.curve}, ${curve.contestant} | ${[...cells, ...shown].join(" | ")} |`;
  });
  return [
    "",
    `### ${row}`,
    `| cost of one | ${loads.map((load) => loadText(load, of)).join(" | ")} | rise | power |`,
    `|---|${"--:|".repeat(loads.length + 2)}`,
    ...lines,
  ];
}

/** A load as people write it: 10k, 1M; 16 KiB, 4 GiB. */
export function loadText(load: number, of: "units" | "bytes"): string {
  const [step, names] =
    of === "bytes" ? [1024, [" B", " KiB", " MiB", " GiB"]] : [1000, ["", "k", "M"]];
  let power = 0;
  let value = load;
  for (; value >= step && power < names.length - 1; power++) value /= step;
  return `${Number(value.toPrecision(3))}${names[power]}`;
}

function figure(cost: number): string {
  const digits = Math.abs(cost) < 1 ? 3 : Math.abs(cost) < 100 ? 1 : 0;
  return cost.toLocaleString("en-US", { maximumFractionDigits: digits });
}
