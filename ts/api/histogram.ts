// SPDX-License-Identifier: Apache-2.0
// Summaries of times: average, spread and percentiles over the last samples. Pure.

/** A summary of times in milliseconds. All 0 without a sample. */
export interface TimeSummary {
  readonly average: number;
  readonly mean: number;
  readonly stddev: number;
  readonly min: number;
  readonly max: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p99_9: number;
  readonly count: number;
}

const kept = 4096;

/** Times of one kind: counts all, keeps the last 4096 for the percentiles. */
export class Times {
  readonly #last = new Float64Array(kept);
  #count = 0;
  #sum = 0;

  add(ms: number): void {
    this.#last[this.#count % kept] = ms;
    this.#count++;
    this.#sum += ms;
  }

  get average(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }

  summary(): TimeSummary {
    const sorted = this.#last.slice(0, Math.min(this.#count, kept)).sort();
    const at = (part: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
    const { average } = this;
    const variance =
      sorted.length === 0
        ? 0
        : sorted.reduce((sum, ms) => sum + (ms - average) ** 2, 0) / sorted.length;
    return {
      average,
      mean: average,
      stddev: Math.sqrt(variance),
      min: sorted[0] ?? 0,
      max: sorted.at(-1) ?? 0,
      p50: at(0.5),
      p90: at(0.9),
      p99: at(0.99),
      p99_9: at(0.999),
      count: this.#count,
    };
  }
}
