// SPDX-License-Identifier: Apache-2.0
//
// The start of a runtime and what it costs to leave it idle: a fresh process for each figure.

import { setTimeout as sleep } from "node:timers/promises";
import { BenchChild, type Program } from "./child.ts";
import { type Usage, usageOf } from "./processes.ts";

/** One start. */
export interface Start {
  /** init() to the first result of a task. */
  readonly firstResultMs: number;
  /** The same from the start of the process: interpreter and import included. */
  readonly wholeMs: number;
  /** Processes and memory after two idle seconds, the driver included. */
  readonly idle: Usage;
  /** Processor time that they used in the idle window, per second. */
  readonly idleCpuMsPerS: number;
}

const watchdogS = 90;
const settleS = 2;
const idleWindowS = 3;

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
      start = {
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
