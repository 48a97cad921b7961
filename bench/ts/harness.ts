// SPDX-License-Identifier: Apache-2.0
//
// How a row of the benchmark is timed and reported. A row makes what it needs and gives the call
// to time, its weight (units per call) and what ends it. One line of JSON per event goes to
// standard output after the mark. bench/python/harness.py does the same in Python; the driver of
// both is bench/child.ts.

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

/** What a row gives: the call to time and how many units one call counts for. */
export interface Prepared {
  readonly call: () => unknown;
  readonly weight: number;
  readonly end?: () => Promise<unknown>;
}

/** How much a row does: the batch sizes of the rows with many callers. */
export interface Scale {
  readonly large: number;
  readonly middle: number;
}

/** A row's body (a number: what it measured by itself), or why the runtime cannot run it. */
export type Body = ((scale: Scale) => Prepared | number | Promise<Prepared | number>) | string;

/** The options that bench/child.ts gives. */
export interface RowOptions {
  readonly rows: readonly string[];
  readonly warmupS: number;
  readonly windowS: number;
  readonly scale: Scale;
  /** Rows whose single calls are timed. */
  readonly latencyRows: readonly string[];
}

const full: Scale = { large: 10_000, middle: 5_000 };
const quick: Scale = { large: 1_000, middle: 1_000 };

/** Reads the options of the command line. */
export function rowOptions(): RowOptions {
  const { values } = parseArgs({
    options: {
      rows: { type: "string", default: "[]" },
      "warmup-s": { type: "string", default: "1" },
      "window-s": { type: "string", default: "2" },
      quick: { type: "boolean", default: false },
      "latency-rows": { type: "string", default: "[]" },
    },
  });
  return {
    latencyRows: JSON.parse(values["latency-rows"]) as string[],
    rows: JSON.parse(values.rows) as string[],
    warmupS: Number(values["warmup-s"]),
    windowS: Number(values["window-s"]),
    scale: values.quick ? quick : full,
  };
}

/** Reports an event to the driver of the benchmark. */
export function emit(event: string, fields: Record<string, unknown> = {}): void {
  // A pipe takes what it has room for: the latencies of a row are more.
  let rest: Uint8Array = Buffer.from(`@bench ${JSON.stringify({ event, ...fields })}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    }
  }
}

let answers: AsyncIterator<string> | null = null;

/** What the driver of the benchmark counts of all our processes. */
export async function askUsage(what: "pssBytes" | "cpuS" = "pssBytes"): Promise<number> {
  if (process.stdin.isTTY) return 0;
  answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  process.stdin.ref?.();
  emit("usage");
  const { value } = (await answers.next()) as { value?: string };
  process.stdin.unref?.();
  return Number((JSON.parse(value ?? "{}") as Record<string, unknown>)[what] ?? 0);
}

/** Times the rows asked for. */
export async function runRows(
  bodies: Readonly<Record<string, Body>>,
  options: RowOptions,
): Promise<void> {
  for (const row of options.rows) {
    emit("begin", { row });
    const body = bodies[row] ?? "not a row of this program";
    if (typeof body === "string") {
      emit("skipped", { row, reason: body });
      continue;
    }
    try {
      const prepared = await body(options.scale);
      if (typeof prepared === "number") {
        emit("result", { row, value: prepared });
        continue;
      }
      const { call, weight, end } = prepared;
      const { rate, calls, cpuS, latencyUs } = await timed(
        call,
        options,
        options.latencyRows.includes(row),
      );
      await end?.();
      const cpuUs = (cpuS * 1e6) / (calls * weight);
      emit("result", { row, value: rate * weight, calls, cpuUs, latencyUs });
    } catch (error) {
      console.error(error);
      const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      emit("failed", { row, error: text.split("\n", 1)[0]?.slice(0, 300) });
    }
  }
}

interface Timed {
  readonly rate: number;
  readonly calls: number;
  readonly cpuS: number;
  /** Of each call, microseconds: 32-bit floats in base64. */
  readonly latencyUs: string | undefined;
}

async function timed(
  call: () => unknown,
  { warmupS, windowS }: RowOptions,
  lone: boolean,
): Promise<Timed> {
  // The first call waits for the start of workers; a long one is a warm-up by itself.
  let start = performance.now();
  await call();
  const warm = performance.now() - start > 5000 * warmupS + 2000;
  let calls = 0;
  start = performance.now();
  while (!warm && performance.now() - start < warmupS * 1000) {
    const result = call();
    if (result instanceof Promise) await result;
    calls++;
  }
  const step = Math.floor(calls / 10) + 1;
  const cpuBefore = await askUsage("cpuS");
  const latencies: number[] = [];
  calls = 0;
  start = performance.now();
  if (lone) {
    for (let before = start; before - start < windowS * 1000; calls++) {
      await call();
      const after = performance.now();
      latencies.push((after - before) * 1000);
      before = after;
    }
  } else {
    while (performance.now() - start < windowS * 1000) {
      for (let i = 0; i < step; i++) {
        const result = call();
        if (result instanceof Promise) await result;
      }
      calls += step;
    }
  }
  const rate = (calls * 1000) / (performance.now() - start);
  const cpuS = (await askUsage("cpuS")) - cpuBefore;
  const latencyUs = lone
    ? Buffer.from(Float32Array.from(latencies).buffer).toString("base64")
    : undefined;
  return { rate, calls, cpuS, latencyUs };
}
