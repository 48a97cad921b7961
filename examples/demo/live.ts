// SPDX-License-Identifier: Apache-2.0
//
// What the demo prints while it runs. On a terminal one line is rewritten in place, its clock running;
// elsewhere (a pipe, a log file) a plain line is printed when a phase ends or training has come further.

import type { PartitionProgress } from "./actors.ts";

/** The seconds that a phase took. */
export interface Phase {
  readonly name: string;
  readonly seconds: number;
}

/** Prints phases as they run and remembers how long they took. */
export class Live {
  readonly phases: Phase[] = [];
  readonly #terminal = process.stdout.isTTY === true;
  readonly #began = performance.now();
  #last = "";

  /** Runs one phase; its line ends with what `done` says of the result. */
  async phase<T>(name: string, run: () => Promise<T>, done: (result: T) => string): Promise<T> {
    const began = performance.now();
    this.note(`${name} ...`);
    const tick = this.#terminal ? setInterval(() => this.#draw(), 500) : undefined;
    const result = await run().finally(() => clearInterval(tick));
    const seconds = (performance.now() - began) / 1000;
    this.phases.push({ name, seconds });
    this.#clear();
    console.log(`${this.#clock()} ${name}: ${done(result)}`);
    return result;
  }

  /** Shows how far the partitions of one data set are. */
  training(dataset: string, all: readonly PartitionProgress[]): void {
    const partitions = all.filter((each) => each.dataset === dataset);
    if (partitions.length === 0) return;
    const parts = partitions
      .toSorted((a, b) => a.partition - b.partition)
      .map((each) => `${this.#bar(each)} (Spark worker ${each.pid})`);
    this.note(`train ${dataset}: ${parts.join(", ")}`);
  }

  /** A line that is only of interest now. */
  note(text: string): void {
    if (text === this.#last) return;
    this.#last = text;
    if (!this.#terminal) {
      console.log(`${this.#clock()} ${text}`);
      return;
    }
    this.#draw();
  }

  /** Says why the demo ended early: the error and its causes, without stacks of the innards. */
  fail(error: unknown): void {
    this.#clear();
    console.error(`${this.#clock()} the demo failed:`);
    let said = "";
    for (let each = error; each !== undefined && each !== null; ) {
      const text = each instanceof Error ? `${each.name}: ${each.message}` : String(each);
      // A task's error quotes its cause.
      if (!(each instanceof Error && said.includes(each.message))) {
        console.error(text.replace(/^/gm, "  "));
      }
      said += text;
      each = each instanceof Error ? each.cause : undefined;
    }
  }

  #bar(progress: PartitionProgress): string {
    if (!this.#terminal) {
      // Quarters only: a log need not hold a line for every task.
      const quarters = Math.floor((4 * progress.done) / progress.tasks);
      return `${quarters * 25} % of ${progress.tasks} tasks`;
    }
    const width = 12;
    const filled = Math.round((width * progress.done) / progress.tasks);
    return `${"#".repeat(filled)}${".".repeat(width - filled)} ${progress.done}/${progress.tasks}`;
  }

  #draw(): void {
    this.#clear();
    const line = `${this.#clock()} ${this.#last}`;
    // The cursor goes back, so that a line of a worker overwrites this one rather than follow it.
    process.stdout.write(`${line.slice(0, (process.stdout.columns || 80) - 1)}\r`);
  }

  #clock(): string {
    return `[${((performance.now() - this.#began) / 1000).toFixed(1).padStart(5)} s]`;
  }

  #clear(): void {
    if (this.#terminal) process.stdout.write("\r\u001b[K");
  }
}
