// SPDX-License-Identifier: Apache-2.0
// `polyray metrics`: the runtime's counters and the programs' own, in the text form of Prometheus.
// `polyray timeline`: what ran when, for chrome://tracing and Perfetto.

import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { SystemError } from "../../base/errors.ts";
import { fetchTimeline } from "../../core/state-request.ts";
import { type AskFlags, ask } from "../ask.ts";
import { print, printJson } from "../table.ts";

export async function metrics(flags: AskFlags): Promise<void> {
  if (flags.json === true) {
    const { families } = await ask(flags, (current) => current.request("metrics.families"));
    return printJson(families);
  }
  const { text } = await ask(flags, (current) => current.request("metrics.text"));
  process.stdout.write(String(text));
}

export async function timeline(file: string | undefined, flags: AskFlags): Promise<void> {
  const rows = await ask(flags, fetchTimeline);
  if (flags.json === true || file === "-") return printJson(rows);
  const stamp = new Date().toISOString().slice(0, 19).replace(/:/g, "-");
  const path = resolve(file ?? `polyray-timeline-${stamp}.json`);
  try {
    writeFileSync(path, JSON.stringify(rows));
  } catch (error) {
    throw new SystemError(
      `[system] the timeline cannot be written: ${(error as Error).message}. Name a file that you may write, or - for the standard output.`,
    );
  }
  const runs = rows.filter((row) => row.ph === "X").length;
  print([
    `${runs} runs written to ${path}`,
    "Open it in https://ui.perfetto.dev or chrome://tracing.",
  ]);
}
