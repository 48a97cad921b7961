// SPDX-License-Identifier: Apache-2.0
// Pi by Monte Carlo. The tasks tell an actor how far they are, and the driver looks at it while they run.
//
// `main.ts [samples of a task]`

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { type ActorHandle, get, init, remote } from "polyray";

const tasks = 10;
const samples = Number(process.argv[2] ?? 10_000_000);

class ProgressActor {
  readonly #done = new Map<number, number>();
  constructor(readonly total: number) {}

  reportProgress(task: number, count: number): void {
    this.#done.set(task, count);
  }

  getProgress(): number {
    return [...this.#done.values()].reduce((a, b) => a + b, 0) / this.total;
  }
}

const sample = remote(async (count: number, task: number, progress: ActorHandle<ProgressActor>) => {
  let inside = 0;
  for (let i = 1; i <= count; i++) {
    if (Math.hypot(Math.random() * 2 - 1, Math.random() * 2 - 1) <= 1) inside++;
    if (i % 1_000_000 === 0) progress.reportProgress.remote(task, i);
  }
  await get(progress.reportProgress.remote(task, count));
  return inside;
});

await using _runtime = await init();
const progress = remote(ProgressActor).remote(tasks * samples);
const results = Array.from({ length: tasks }, (_, task) => sample.remote(samples, task, progress));
for (let share = 0; share < 1; share = await get(progress.getProgress.remote())) {
  console.log(`progress: ${Math.round(share * 100)} %`);
  await sleep(Math.min(1000, samples / 1000));
}
const pi = (4 * (await get(results)).reduce((a, b) => a + b)) / (tasks * samples);
console.log(`pi is about ${pi}`);
assert.ok(Math.abs(pi - Math.PI) < 0.1);
