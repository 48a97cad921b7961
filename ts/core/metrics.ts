// SPDX-License-Identifier: Apache-2.0
// Metrics of the program's own: Counter, Gauge, Histogram with tags. The node service keeps the sums of all processes of
// both languages (ts/gcs/metrics-table.ts); what a process recorded reaches it a tenth of a second later, many records at once.
//
// In core, since a worker that was sent one must know it before user code imports anything.
// Recording costs a map lookup; nothing is sent while nothing is recorded.

import { InvalidOptionError } from "../base/errors.ts";
import { registerCodec } from "../object/codecs.ts";
import { checkOptions, checks } from "./checks.ts";
import type { Connection } from "./connection.ts";
import { connectionOrNull } from "./context.ts";
import { carry } from "./function-values.ts";
import { inTime } from "./state-request.ts";

/** Texts by tag. */
export type Tags = Readonly<Record<string, string>>;

/** Options of a metric. */
export interface MetricOptions {
  readonly description?: string;
  /** Tags that records carry; a record must give each, unless it has a default. */
  readonly tagKeys?: readonly string[];
  readonly defaultTags?: Tags;
}

/** Options of a Histogram. */
export interface HistogramOptions extends MetricOptions {
  /** Upper ends of the ranges, positive and rising. */
  readonly boundaries: readonly number[];
}

type Kind = "counter" | "gauge" | "histogram";

/** What is told of one combination of tags: what was added, or for a gauge what it is now. */
interface Cell {
  readonly tags: readonly string[];
  value: number;
  counts: number[] | null;
}

const reportMs = 100;
const lastReportMs = 1000;
const namePattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const tagPattern = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const pending = new Set<Metric>();
let timer: NodeJS.Timeout | null = null;
let warned = false;

const optionChecks = {
  description: checks.anyText,
  tagKeys: (v: unknown) =>
    Array.isArray(v) && v.every((key) => typeof key === "string" && tagPattern.test(key))
      ? null
      : "a list of names (letters, digits, _; no digit first)",
  defaultTags: checks.texts,
};
const boundaries = (v: unknown): string | null =>
  Array.isArray(v) &&
  v.length > 0 &&
  v.every((one, i) => typeof one === "number" && one > (i === 0 ? 0 : (v[i - 1] as number)))
    ? null
    : "a list of positive, rising numbers, such as [0.1, 1, 10]";

/** Whose the names of the lines are that the metrics of this environment write. */
const lineNames = new Map<string, string>();

function claimLines(name: string, kind: Kind): void {
  const lines =
    kind === "histogram" ? ["", "_bucket", "_sum", "_count"].map((end) => name + end) : [name];
  for (const line of lines) {
    const owner = lineNames.get(line) ?? name;
    if (owner !== name)
      throw new InvalidOptionError(
        `[invalid option] the ${kind} ${name} and the metric ${owner} would both write lines named ${line}. Give it another name.`,
      );
  }
  for (const line of lines) lineNames.set(line, name);
}

/** Base of the metrics. */
export abstract class Metric {
  readonly name: string;
  readonly description: string;
  readonly tagKeys: readonly string[];
  #defaultTags: Tags = {};
  readonly #kind: Kind;
  readonly #boundaries: readonly number[];
  #cells = new Map<string, Cell>();

  /** @internal */
  constructor(
    name: string,
    options: MetricOptions,
    kind: Kind,
    limits: readonly number[],
    extra: Record<string, (value: unknown) => string | null> = {},
  ) {
    if (typeof name !== "string" || !namePattern.test(name))
      throw new InvalidOptionError(
        `[invalid option] the name of a metric has letters, digits, _ and :, and no digit first; "${String(name)}" is none.`,
      );
    checkOptions(options, { ...optionChecks, ...extra }, `the ${kind} ${name}`);
    claimLines(name, kind);
    this.name = name;
    this.description = options.description ?? "";
    this.tagKeys = [...(options.tagKeys ?? [])];
    this.#kind = kind;
    this.#boundaries = limits;
    if (options.defaultTags !== undefined) this.setDefaultTags(options.defaultTags);
  }

  /** Tags of every record that does not give its own. Returns this metric. */
  setDefaultTags(tags: Tags): this {
    this.#checkTags(tags);
    this.#defaultTags = { ...tags };
    return this;
  }

  /** @internal How it travels. */
  get parts(): [Kind, string, MetricOptions & { boundaries?: readonly number[] }] {
    const options = {
      description: this.description,
      tagKeys: this.tagKeys,
      defaultTags: this.#defaultTags,
    };
    return [
      this.#kind,
      this.name,
      this.#kind === "histogram" ? { ...options, boundaries: this.#boundaries } : options,
    ];
  }

  /** @internal */
  protected record(value: number, tags: Tags | undefined): void {
    if (typeof value !== "number" || !Number.isFinite(value))
      throw new InvalidOptionError(
        `[invalid option] ${this.name} records finite numbers, not ${String(value)}.`,
      );
    const cell = this.#cell(tags);
    if (this.#kind === "gauge") cell.value = value;
    else cell.value += value;
    if (cell.counts !== null) {
      const at = this.#boundaries.findIndex((end) => value <= end);
      const range = at === -1 ? this.#boundaries.length : at;
      cell.counts[range] = (cell.counts[range] as number) + 1;
    }
    pending.add(this);
    timer ??= setTimeout(() => void flushMetrics(), reportMs);
  }

  #checkTags(tags: Tags): void {
    const wanted = checks.texts(tags);
    if (wanted !== null) throw new InvalidOptionError(`[invalid option] tags are ${wanted}.`);
    for (const key of Object.keys(tags))
      if (!this.tagKeys.includes(key))
        throw new InvalidOptionError(
          `[invalid option] the metric ${this.name} has no tag "${key}". Its tags: ${this.tagKeys.join(", ") || "none"}.`,
        );
  }

  #cell(tags: Tags | undefined): Cell {
    if (tags !== undefined) this.#checkTags(tags);
    const values = this.tagKeys.map((key) => {
      const value = tags?.[key] ?? this.#defaultTags[key];
      if (value === undefined)
        throw new InvalidOptionError(
          `[invalid option] the metric ${this.name} needs a value for its tag "${key}".`,
        );
      return value;
    });
    const key = values.join("\0");
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      const counts =
        this.#kind === "histogram" ? new Array<number>(this.#boundaries.length + 1).fill(0) : null;
      cell = { tags: values, value: 0, counts };
      this.#cells.set(key, cell);
    }
    return cell;
  }

  /** @internal What was recorded since the last call. */
  take(): Record<string, unknown> {
    const cells = [...this.#cells.values()];
    this.#cells = new Map();
    return {
      name: this.name,
      kind: this.#kind,
      description: this.description,
      tagKeys: this.tagKeys,
      boundaries: this.#boundaries,
      cells,
    };
  }
}

/** Sends what was recorded to the node service, now. */
export async function flushMetrics(current: Connection | null = connectionOrNull()): Promise<void> {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  if (current === null || !current.isOpen || pending.size === 0) return; // kept until there is a runtime
  const metrics = [...pending].map((metric) => metric.take());
  pending.clear();
  try {
    const { refused } = await current.request("metrics.report", { metrics });
    const [first] = refused as string[];
    if (first === undefined || warned) return;
    warned = true;
    process.emitWarning(first, "PolyrayMetricWarning");
  } catch {
    // the runtime ended: with it its metrics
  }
}

/** As flushMetrics, before the process ends: waits for the answer, but not long. */
export function flushLastMetrics(current: Connection): Promise<void> {
  return inTime(flushMetrics(current), lastReportMs, "the answer to metrics").catch(
    () => undefined,
  );
}

/** A number that only grows. */
export class Counter extends Metric {
  constructor(name: string, options: MetricOptions = {}) {
    super(name, options, "counter", []);
  }

  /** Adds to it. Throws InvalidOptionError for a value that is not above 0, or tags that are wrong. */
  inc(value = 1, tags?: Tags): void {
    if (!(value > 0))
      throw new InvalidOptionError(
        `[invalid option] the counter ${this.name} only grows: ${String(value)} is not above 0. A Gauge goes both ways.`,
      );
    this.record(value, tags);
  }
}

/** A number that goes up and down: what any process of the runtime set last. */
export class Gauge extends Metric {
  constructor(name: string, options: MetricOptions = {}) {
    super(name, options, "gauge", []);
  }

  set(value: number, tags?: Tags): void {
    this.record(value, tags);
  }
}

/** How often values fell into ranges. */
export class Histogram extends Metric {
  readonly boundaries: readonly number[];

  constructor(name: string, options: HistogramOptions) {
    const given = (options as Partial<HistogramOptions> | undefined)?.boundaries;
    const wrong = boundaries(given);
    if (wrong !== null || given === undefined)
      throw new InvalidOptionError(
        `[invalid option] the histogram ${String(name)} needs boundaries: ${wrong}.`,
      );
    super(name, options, "histogram", [...given], { boundaries });
    this.boundaries = [...given];
  }

  observe(value: number, tags?: Tags): void {
    this.record(value, tags);
  }
}

function metricOf([kind, name, options]: Metric["parts"]): Metric {
  if (kind === "counter") return new Counter(name, options);
  if (kind === "gauge") return new Gauge(name, options);
  return new Histogram(name, options as HistogramOptions);
}

for (const Class of [Counter, Gauge, Histogram])
  registerCodec(Class as unknown as new (...args: never[]) => Metric, {
    tag: `polyray/${Class.name}@1`,
    encode: (metric) => metric.parts,
    decode: (parts: Metric["parts"]) => metricOf(parts),
  });
carry((value) => value instanceof Metric);
