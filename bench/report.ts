// SPDX-License-Identifier: Apache-2.0
//
// The tables of a run in Markdown, for the terminal and for bench/RESULTS.md.

import type { Contestant } from "./options.ts";
import { type Figure, median, type Results } from "./results.ts";
import { nodeRows, type Row, startRow } from "./table.ts";

/** The report of a run. */
export function report(results: Results, rows: readonly Row[]): string {
  const parts = [
    head(results),
    rayTable(results, rows),
    nodeTable(results),
    startTable(results),
    notes(results, rows),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function head(results: Results): string {
  const { machine: m, versions } = results;
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `Measured on ${results.date}, commit ${m?.commit}: ${m?.cores} cores (${m?.processor}), ${m?.memoryGiB} GiB, ${m?.system}, kernel ${m?.kernel}; Node ${m?.node}, ${m?.python}.`,
    `Versions: ${named.join(", ")}. ${results.settings}`,
    `Load averages: ${results.loadBefore} before, ${results.loadAfter} after. Absolute figures drift with the machine; the ratios come from one run.`,
  ].join("\n");
}

function rayTable(results: Results, rows: readonly Row[]): string {
  const lines = rows
    .filter(({ name }) =>
      ["ray", "polyray-py", "polyray-ts", "polyray-ts-py"].some((who) =>
        results.figure(who as Contestant, name),
      ),
    )
    .map((row) => {
      const ray = results.figure("ray", row.name);
      const cells = (["polyray-py", "polyray-ts", "polyray-ts-py"] as const).flatMap((who) => {
        const figure = results.figure(who, row.name);
        const goal = who === "polyray-ts" ? row.tsGoal : row.pyGoal;
        const cell = [number(figure, row), ratio(figure, ray, row, goal)];
        return who === "polyray-ts-py" ? cell : [...cell, goal === null ? "" : `${goal}x`];
      });
      return `| ${row.name} (${row.unit}) | ${number(ray, row)} | ${cells.join(" | ")} |`;
    });
  if (lines.length === 0) return "";
  return [
    "## Ray's microbenchmark",
    "Py: Python driver and workers, the same file as Ray. TS: TypeScript driver and workers. TS-Py: TypeScript driver, Python workers (goal: at least that of Py). A ratio at its goal is **bold**; `-`: no such row; `!`: see below.",
    "",
    "| row | Ray | Py | to Ray | goal | TS | to Ray | goal | TS-Py | to Ray |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

function number(figure: Figure | null, row: Pick<Row, "unit">): string {
  if (figure === null) return "-";
  if (figure.median === null) return "!";
  const digits = row.unit === "ms" ? 0 : figure.median < 100 ? 2 : 0;
  return figure.median.toLocaleString("en-US", { maximumFractionDigits: digits });
}

function ratio(
  figure: Figure | null,
  peer: Figure | null,
  row: Pick<Row, "unit">,
  goal: number | null,
): string {
  if (figure?.median == null || peer?.median == null) return "";
  const value = row.unit === "ms" ? peer.median / figure.median : figure.median / peer.median;
  const text = `${value.toFixed(value < 10 ? 1 : 0)}x`;
  return goal !== null && value >= goal ? `**${text}**` : text;
}

function nodeTable(results: Results): string {
  const peers = (["postmessage", "piscina", "tinypool"] as const).filter((who) =>
    nodeRows.some(({ name }) => results.figure(who, name)),
  );
  if (peers.length === 0) return "";
  const rate = { unit: "/s" } as const;
  const lines = nodeRows.map(({ name, task, actor, goal }) => {
    const piscina = results.figure("piscina", name);
    const ours = [task, actor].flatMap((row) => {
      const figure = results.figure("polyray-ts", row);
      return [number(figure, rate), ratio(figure, piscina, rate, goal)];
    });
    return `| ${name} (/s) | ${peers.map((who) => number(results.figure(who, name), rate)).join(" | ")} | ${ours.join(" | ")} | ${goal}x |`;
  });
  return [
    "## What a Node program would use instead",
    "The peers are threads of one process; polyray's workers are processes.",
    "",
    `| row | ${peers.join(" | ")} | TS tasks | to Piscina | TS actor | to Piscina | goal |`,
    `|---|${"--:|".repeat(peers.length + 5)}`,
    ...lines,
  ].join("\n");
}

function startTable(results: Results): string {
  const lines = Object.entries(results.starts).map(([name, starts]) => {
    const of = (pick: (start: (typeof starts)[number]) => number, digits = 0) =>
      median(starts.map(pick)).toFixed(digits);
    return `| ${name} | ${of((s) => s.firstResultMs)} | ${of((s) => s.wholeMs)} | ${of((s) => s.idle.processes)} | ${of((s) => s.idle.rssMb)} | ${of((s) => s.idle.pssMb)} | ${of((s) => s.idleCpuMsPerS, 1)} |`;
  });
  if (lines.length === 0) return "";
  return [
    "## Start and idle",
    `"${startRow}" in a fresh process; then two idle seconds. Processes and memory include the driver; PSS counts shared pages once.`,
    "",
    "| contestant | first result, ms | from process start, ms | processes | RSS, MB | PSS, MB | idle CPU, ms/s |",
    "|---|--:|--:|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

function notes(results: Results, rows: readonly Row[]): string {
  const names = [...rows.map(({ name }) => name), ...nodeRows.map(({ name }) => name)];
  const contestants = [
    "ray",
    "polyray-py",
    "polyray-ts",
    "polyray-ts-py",
    "postmessage",
    "piscina",
    "tinypool",
  ] as const;
  const lines = contestants.flatMap((who) =>
    names.flatMap((name) =>
      (results.figure(who, name)?.reasons ?? []).map((reason) => `- ${who}, ${name}: ${reason}`),
    ),
  );
  const told = [...results.notes].map(([where, text]) => `- ${where}: ${text}`);
  return [
    ...(told.length === 0 ? [] : ["## Notes", ...told]),
    ...(lines.length === 0 ? [] : ["## Not measured or failed", ...lines]),
  ].join("\n");
}
