// SPDX-License-Identifier: Apache-2.0
//
// Runs a program of rows in a fresh process and reads its events. Each row has its own watchdog: a
// row that hangs or ends its process is reported as failed, and a new process runs the rest.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { places } from "./install.ts";
import { killMarked, markName, usageOf } from "./processes.ts";

/** A program that reports events (bench/ts/harness.ts, bench/python/harness.py). */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One event of a program. */
export interface BenchEvent {
  readonly event: string;
  readonly row?: string;
  readonly [field: string]: unknown;
}

/** What became of a row. */
export type Outcome =
  | {
      readonly kind: "value";
      readonly value: number;
      /** Processor time of all processes for one unit of the row. */
      readonly cpuUs?: number;
      /** How long each call took, for rows of one call at a time. */
      readonly latencyUs?: Float32Array;
    }
  | { readonly kind: "failed" | "skipped"; readonly reason: string };

/** What a program said. */
export interface RowsResult {
  readonly version: string;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** What rows tell besides their value. */
  readonly notes: readonly { readonly row: string; readonly text: string }[];
}

const startWatchdogS = 60;
const endWatchdogS = 30;

// Programs that run now: they end with the benchmark.
const running = new Set<string>();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const mark of running) killMarked(mark);
    process.exit(130);
  });
}

/** A running program: its events come by `onEvent`, its watchdog is set by `watch`. */
export class BenchChild {
  readonly mark = randomBytes(8).toString("hex");
  readonly ended: Promise<void>;
  timedOut = false;
  readonly #process: ChildProcess;
  readonly #errors: string[] = [];
  #watchdog: NodeJS.Timeout | undefined;

  constructor(program: Program, onEvent: (event: BenchEvent, child: BenchChild) => void) {
    this.#process = spawn(program.command, program.args, {
      cwd: places.root,
      env: { ...process.env, ...program.env, [markName]: this.mark },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    running.add(this.mark);
    const lines = createInterface({ input: this.#process.stdout! });
    lines.on("line", (line) => {
      if (!line.startsWith("@bench ")) return this.#note(line);
      const event = JSON.parse(line.slice(7)) as BenchEvent;
      if (event.event === "usage") this.#answerUsage();
      else onEvent(event, this);
    });
    createInterface({ input: this.#process.stderr! }).on("line", (line) => this.#note(line));
    this.ended = new Promise<void>((resolve) => {
      this.#process.on("error", (error) => {
        this.#note(error.message);
        resolve();
      });
      // Workers may hold the pipes: what counts is the program's own end.
      this.#process.on("exit", () => setTimeout(resolve, 50));
    }).then(() => {
      clearTimeout(this.#watchdog);
      killMarked(this.mark);
      running.delete(this.mark);
    });
  }

  /** Ends the program when nothing calls this again within that time. */
  watch(seconds: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.timedOut = true;
      killMarked(this.mark);
    }, seconds * 1000);
  }

  /** Tells a program that waits for the end of its input to go on. */
  endInput(): void {
    this.#process.stdin?.end();
  }

  /** The end of what it wrote besides events. */
  get lastWords(): string {
    return this.#errors
      .filter((line) => line.trim() !== "")
      .slice(-3)
      .join(" | ")
      .slice(0, 300);
  }

  get exitText(): string {
    const { exitCode, signalCode } = this.#process;
    return signalCode === null ? `ended with code ${exitCode}` : `was ended by ${signalCode}`;
  }

  // The program waits for the answer: nothing runs meanwhile but what it left behind.
  #answerUsage(): void {
    const { pssMb, cpuMs } = usageOf(this.mark);
    const answer = { pssBytes: pssMb * 2 ** 20, cpuS: cpuMs / 1000 };
    this.#process.stdin?.write(`${JSON.stringify(answer)}\n`);
  }

  #note(line: string): void {
    this.#errors.push(line);
    if (this.#errors.length > 50) this.#errors.shift();
  }
}

/** Runs the rows, in as many processes as it takes. `rowWatchdogS` is the longest time of one. */
export async function runRows(
  program: Program,
  rows: readonly string[],
  rowWatchdogS: number,
): Promise<RowsResult> {
  const outcomes = new Map<string, Outcome>();
  const notes: { row: string; text: string }[] = [];
  let version = "";
  let left = [...rows];
  while (left.length > 0) {
    let current: string | null = null;
    let ready = false;
    const args = [...program.args, "--rows", JSON.stringify(left)];
    const child = new BenchChild({ ...program, args }, (event, self) => {
      if (event.event === "ready") {
        ready = true;
        version = String(event["version"]);
      }
      if (event.event === "note") {
        notes.push({ row: String(event.row), text: String(event["text"]) });
        return;
      }
      current = event.event === "begin" ? (event.row ?? null) : null;
      const outcome = outcomeOf(event);
      if (outcome !== null && event.row !== undefined) outcomes.set(event.row, outcome);
      self.watch(current !== null || outcomes.size < rows.length ? rowWatchdogS : endWatchdogS);
    });
    child.watch(startWatchdogS);
    await child.ended;
    if (!ready) {
      const reason = `it did not start: ${child.timedOut ? "watchdog" : child.exitText}; ${child.lastWords}`;
      for (const row of left) outcomes.set(row, { kind: "failed", reason });
      break;
    }
    // The row that was running, or the first one when the program did not come that far.
    const broken: string | undefined = current ?? left.find((row) => !outcomes.has(row));
    if (broken !== undefined && !outcomes.has(broken)) {
      const why = child.timedOut ? "no result in time (watchdog)" : `its process ${child.exitText}`;
      outcomes.set(broken, { kind: "failed", reason: `${why}; ${child.lastWords}` });
    }
    left = left.filter((row) => !outcomes.has(row));
  }
  return { version, outcomes, notes };
}

function outcomeOf(event: BenchEvent): Outcome | null {
  if (event.event === "result") {
    const { cpuUs, latencyUs } = event;
    return {
      kind: "value",
      value: Number(event["value"]),
      ...(typeof cpuUs === "number" ? { cpuUs } : {}),
      ...(typeof latencyUs === "string" ? { latencyUs: floats(latencyUs) } : {}),
    };
  }
  if (event.event === "failed") return { kind: "failed", reason: String(event["error"]) };
  if (event.event === "skipped") return { kind: "skipped", reason: String(event["reason"]) };
  return null;
}

// Little-endian 32-bit floats in base64: two seconds of calls are tens of thousands of numbers.
function floats(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new Float32Array(bytes.buffer, 0, bytes.length >> 2);
}
