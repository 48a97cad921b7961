// SPDX-License-Identifier: Apache-2.0
//
// The pictures of a run: ratios to Ray and growth curves, as SVG. The specifications are made here;
// Vega (installed into build/bench, no dependency of the package) draws them. Text is measured by
// Vega's own estimate, so that a machine's fonts make no difference.

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { curves } from "./growth.ts";
import { places } from "./install.ts";
import type { Contestant } from "./options.ts";
import type { Results } from "./results.ts";
import { type Row, smallerIsBetter } from "./table.ts";

/** A picture before it is drawn: a Vega-Lite specification. */
export type Spec = Readonly<Record<string, unknown>>;

const labels = {
  "polyray-py": "Python",
  "polyray-ts": "TypeScript",
  "polyray-ts-py": "TS to Python",
} as const;
const colors = { domain: Object.values(labels), range: ["#2f6fab", "#d9822b", "#6a9a3b"] };
const common = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  background: "white",
  config: {
    font: "sans-serif",
    axis: { labelFontSize: 11, titleFontSize: 11 },
    legend: { orient: "top", labelLimit: 300 },
  },
};

/** Ratios to Ray by row, on a logarithmic axis, with the goals; null when Ray was not measured. */
export function ratioSpec(results: Results, rows: readonly Row[]): Spec | null {
  const values = rows.flatMap((row) => {
    const ray = results.figure("ray", row.name)?.median;
    if (ray == null) return [];
    return (Object.keys(labels) as (keyof typeof labels)[]).flatMap((who) => {
      const ours = results.figure(who as Contestant, row.name)?.median;
      if (ours == null || !(ours > 0) || !(ray > 0)) return [];
      const ratio = smallerIsBetter(row.unit) ? ray / ours : ours / ray;
      const goal = who === "polyray-ts" ? row.tsGoal : row.pyGoal;
      return [{ row: row.name, who: labels[who], ratio: round(ratio), goal }];
    });
  });
  if (values.length === 0) return null;
  const y = {
    field: "row",
    type: "nominal",
    sort: null,
    title: null,
    axis: { labelLimit: 400, grid: true },
  };
  const color = { field: "who", type: "nominal", title: null, scale: colors };
  const x = {
    type: "quantitative",
    scale: { type: "log" },
    title: "times as fast as Ray (| is the goal)",
  };
  return {
    ...common,
    width: 520,
    height: { step: 20 },
    data: { values },
    layer: [
      {
        mark: { type: "rule", color: "#888" },
        encoding: { x: { datum: 1, type: "quantitative" } },
      },
      {
        transform: [{ filter: "isValid(datum.goal)" }],
        mark: { type: "tick", thickness: 2, size: 12, opacity: 1, aria: false },
        encoding: { y, color, x: { ...x, field: "goal" } },
      },
      {
        mark: { type: "point", filled: true, size: 55, opacity: 1, aria: false },
        encoding: { y, color, x: { ...x, field: "ratio" } },
      },
    ],
  };
}

/** Cost of a unit by load, one panel for each curve; null when none was run. */
export function growthSpec(results: Results): Spec | null {
  const values = curves(results.growth).flatMap(({ contestant, row, curve, points }) =>
    points
      .filter(({ cost }) => cost > 0)
      .map(({ load, cost }) => ({
        who: labels[contestant as keyof typeof labels],
        panel: `${row}: ${curve}${curve === "memory" ? ", bytes" : ", us"}`,
        load,
        cost: round(cost),
      })),
  );
  if (values.length === 0) return null;
  const panels = [...new Set(values.map(({ panel }) => panel))];
  return {
    ...common,
    data: { values },
    columns: 4,
    facet: {
      field: "panel",
      type: "nominal",
      sort: panels,
      title: null,
      header: { labelFontSize: 12 },
    },
    resolve: { scale: { x: "independent", y: "independent" } },
    spec: {
      width: 190,
      height: 110,
      mark: { type: "line", point: { size: 25 }, strokeWidth: 1.5, aria: false },
      encoding: {
        x: {
          field: "load",
          type: "quantitative",
          scale: { type: "log" },
          title: null,
          axis: { format: "~s", tickCount: 4, grid: false },
        },
        y: {
          field: "cost",
          type: "quantitative",
          scale: { type: "log" },
          title: null,
          axis: { format: "~s", tickCount: 4, grid: false },
        },
        color: { field: "who", type: "nominal", title: null, scale: colors },
      },
    },
  };
}

// Three digits: a picture shows no more, and the file stays small.
const round = (value: number): number => Number(value.toPrecision(3));

interface VegaLite {
  compile(spec: Spec): { spec: unknown };
}
interface Vega {
  parse(spec: unknown): unknown;
  View: new (runtime: unknown, options: { renderer: string }) => { toSVG(): Promise<string> };
}

/** The picture as SVG. REQUIRES: install() was told that plots are wanted. */
export async function draw(spec: Spec): Promise<string> {
  const require = createRequire(join(places.work, "package.json"));
  const load = async (name: string) => import(pathToFileURL(require.resolve(name)).href);
  const vegaLite = (await load("vega-lite")) as VegaLite;
  const vega = (await load("vega")) as Vega;
  const view = new vega.View(vega.parse(vegaLite.compile(spec).spec), { renderer: "none" });
  return `${await view.toSVG()}\n`;
}
