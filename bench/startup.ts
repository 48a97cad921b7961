// SPDX-License-Identifier: Apache-2.0
//
// The start of a runtime and what it costs to leave it idle: a fresh process for each figure.

import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { BenchChild, type Program } from "./child.ts";
import { marked, type Usage, usageOf } from "./processes.ts";

/** One start. */
export interface Start {
  /** init() to the first result of a task. */
  readonly firstResultMs: number;
  /** Import of the package alone. */
  readonly importMs: number;
  /** The same from the start of the process: interpreter and import included. */
  readonly wholeMs: number;
  /** Processes and memory after two idle seconds, the driver included. */
  readonly idle: Usage;
  /** Processor time that they used in the idle window, per second. */
  readonly idleCpuMsPerS: number;
  /** System calls that all threads make while nothing happens; null without strace. */
  readonly idleSyscallsPerS: number | null;
}

const watchdogS = 90;
const settleS = 2;
const idleWindowS = 3;
// Attaching interrupts what waits: those calls are not counted.
const attachS = 0.5;
const straceS = 2;

/** Starts the program, lets it idle, ends it. Throws an Error when it did not come up. */
export async function measureStart(program: Program): Promise<Start> {
  const launched = Date.now();
  let start: Start | null = null;
  let measuring: Promise<void> | null = null;
  const child = new BenchChild(program, (event, self) => {
    if (event.event !== "ready") return;
    measuring = (async () => {
      await sleep(settleS * 1000);
      const before = usageOf(self.mark);
      await sleep(idleWindowS * 1000);
      const after = usageOf(self.mark);
      const calls = await countSyscalls(marked(self.mark));
      start = {
        importMs: Number(event["importMs"] ?? 0),
        idleSyscallsPerS: calls === null ? null : calls / straceS,
        firstResultMs: Number(event["firstResultMs"]),
        wholeMs: Number(event["endedAtMs"]) - launched,
        idle: after,
        idleCpuMsPerS: (after.cpuMs - before.cpuMs) / idleWindowS,
      };
      self.endInput();
    })();
  });
  child.watch(watchdogS);
  await child.ended;
  await measuring;
  if (start === null) {
    const why = child.timedOut ? "no result in time (watchdog)" : `its process ${child.exitText}`;
    throw new Error(`${why}; ${child.lastWords}`);
  }
  return start;
}

/** Calls of these processes in the window; null where strace is not there or may not attach. */
async function countSyscalls(pids: readonly number[]): Promise<number | null> {
  const args = ["-f", "-qq", "-ttt", ...pids.flatMap((pid) => ["-p", `${pid}`])];
  const strace = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
  let text = "";
  strace.stderr.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  const ended = new Promise<boolean>((resolve) => {
    strace.once("error", () => resolve(false));
    strace.once("close", () => resolve(true));
  });
  const window = (attachS + straceS) * 1000;
  const early = await Promise.race([ended, sleep(window).then(() => null)]);
  if (early !== null) return null;
  const until = Date.now() / 1000;
  strace.kill("SIGINT");
  return (await ended) ? callsWithin(text, until - straceS, until) : null;
}

/** How many calls began between two moments (Unix seconds), by what `strace -f -ttt` wrote. */
export function callsWithin(text: string, fromS: number, untilS: number): number {
  const begun = text.matchAll(/^(?:\[pid +\d+\] )?(\d+\.\d+) (?!<\.\.\.)\w+\(/gm);
  return [...begun].filter(([, at]) => Number(at) >= fromS && Number(at) < untilS).length;
}
