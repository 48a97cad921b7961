// SPDX-License-Identifier: Apache-2.0
//
// The tables of a run in Markdown, for the terminal and for bench/RESULTS.md.

import { type Contestant, ourNames, peerNames } from "./options.ts";
import { growthSection } from "./report-growth.ts";
import { type Figure, median, type Results } from "./results.ts";
import type { Start } from "./startup.ts";
import { latencyRows, nodeRows, type Row, smallerIsBetter, startRow } from "./table.ts";

const allNames: readonly Contestant[] = [...ourNames, ...peerNames];

/** The report of a run. */
export function report(results: Results, rows: readonly Row[]): string {
  const parts = [
    head(results),
    rayTable(results, rows),
    daskTable(results, rows),
    nodeTable(results),
    latencyTable(results, rows),
    cpuTable(results, rows),
    startTable(results),
    growthSection(results.growth),
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
  const digits = row.unit === "ms" || row.unit === "B" ? 0 : figure.median < 100 ? 2 : 0;
  return figure.median.toLocaleString("en-US", { maximumFractionDigits: digits });
}

function ratio(
  figure: Figure | null,
  peer: Figure | null,
  row: Pick<Row, "unit">,
  goal: number | null,
): string {
  if (figure?.median == null || peer?.median == null) return "";
  const value = smallerIsBetter(row.unit)
    ? peer.median / figure.median
    : figure.median / peer.median;
  const text = `${value.toFixed(value < 10 ? 1 : 0)}x`;
  return goal !== null && value >= goal ? `**${text}**` : text;
}

function daskTable(results: Results, rows: readonly Row[]): string {
  const lines = rows.flatMap((row) => {
    const dask = results.figure("dask", row.name);
    if (dask === null) return [];
    const cells = (["polyray-py", "polyray-ts"] as const).flatMap((who) => {
      const figure = results.figure(who, row.name);
      return [number(figure, row), ratio(figure, dask, row, null)];
    });
    return [`| ${row.name} (${row.unit}) | ${number(dask, row)} | ${cells.join(" | ")} |`];
  });
  if (lines.length === 0) return "";
  return [
    "## Dask distributed",
    "A local cluster of worker processes with one thread each; the rows that it has.",
    "",
    "| row | Dask | Py | to Dask | TS | to Dask |",
    "|---|--:|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

function latencyTable(results: Results, rows: readonly Row[]): string {
  const wanted = new Set<string>([...rows, ...nodeRows].map(({ name }) => name));
  const lines = latencyRows
    .filter((row) => wanted.has(row))
    .flatMap((row) =>
      allNames.flatMap((who) => {
        const latency = results.figure(who, row)?.latency;
        if (latency == null) return [];
        const { p50, p90, p99, max } = latency;
        const cells = [p50, p90, p99, max].map((us) =>
          us.toLocaleString("en-US", { maximumFractionDigits: us < 100 ? 1 : 0 }),
        );
        return [`| ${row} | ${who} | ${cells.join(" | ")} | ${latency.calls} |`];
      }),
    );
  if (lines.length === 0) return "";
  return [
    "## Latency of one call",
    "Microseconds, all calls of all rounds.",
    "",
    "| row | contestant | p50 | p90 | p99 | max | calls |",
    "|---|---|--:|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

function cpuTable(results: Results, rows: readonly Row[]): string {
  const names = [...rows, ...nodeRows].map(({ name }) => name);
  const found = (who: Contestant, row: string) => results.figure(who, row)?.cpuUs ?? null;
  const columns = allNames.filter((who) => names.some((row) => found(who, row) !== null));
  const lines = names
    .filter((row) => columns.some((who) => found(who, row) !== null))
    .map((row) => {
      const cells = columns.map((who) => {
        const us = found(who, row);
        return us === null
          ? "-"
          : us.toLocaleString("en-US", { maximumFractionDigits: us < 100 ? 1 : 0 });
      });
      return `| ${row} | ${cells.join(" | ")} |`;
    });
  if (lines.length === 0) return "";
  return [
    "## Processor time of one unit",
    "Microseconds of all processes of the contestant in the measured window (from /proc, ticks of 10 ms), for one call, batch or gigabyte as the row counts.",
    "",
    `| row | ${columns.join(" | ")} |`,
    `|---|${"--:|".repeat(columns.length)}`,
    ...lines,
  ].join("\n");
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
    return `| ${name} | ${of((s) => s.importMs)} | ${of((s) => s.firstResultMs)} | ${of((s) => s.wholeMs)} | ${of((s) => s.idle.processes)} | ${of((s) => s.idle.rssMb)} | ${of((s) => s.idle.pssMb)} | ${of((s) => s.idleCpuMsPerS, 1)} | ${idleCalls(starts)} |`;
  });
  if (lines.length === 0) return "";
  return [
    "## Start and idle",
    `"${startRow}" in a fresh process; then two idle seconds. Processes and memory include the driver; PSS counts shared pages once. Syscalls are counted by strace over two more seconds, all threads of all processes; \`-\`: no strace here.`,
    "",
    "| contestant | import, ms | first result, ms | from process start, ms | processes | RSS, MB | PSS, MB | idle CPU, ms/s | idle syscalls/s |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

function idleCalls(starts: readonly Start[]): string {
  const counted = starts.flatMap(({ idleSyscallsPerS: one }) => (one === null ? [] : [one]));
  return counted.length === 0 ? "-" : median(counted).toFixed(1);
}

function notes(results: Results, rows: readonly Row[]): string {
  const names = [...rows.map(({ name }) => name), ...nodeRows.map(({ name }) => name)];
  const lines = allNames.flatMap((who) =>
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
