// SPDX-License-Identifier: Apache-2.0
// Metrics that programs record, summed over all processes of the runtime, and their text in the form of Prometheus.
//
// A process reports what it added since its last report, so counters and histograms outlive it; of a gauge the last value
// counts, whoever set it. Both languages report here (ts/core/metrics.ts, polyray/util/metrics.py). Bounded.

type Fields = Record<string, unknown>;

interface Cell {
  readonly tags: readonly string[];
  value: number;
  counts: number[] | null;
}

interface Metric {
  readonly kind: string;
  readonly description: string;
  readonly tagKeys: readonly string[];
  readonly boundaries: readonly number[];
  readonly cells: Map<string, Cell>;
}

const maxMetrics = 10_000;
const maxCells = 100_000;
const prefix = "polyray_";
const suffixes = ["", "_bucket", "_sum", "_count"];

/** The names that a family has in the text. */
export function textNames(name: string, kind: string): string[] {
  return kind === "histogram" ? suffixes.map((suffix) => name + suffix) : [name];
}

/** One line of the text: what follows the name, its tags, its number. */
export interface Sample {
  readonly suffix?: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A family of the text: one name. */
export interface Family {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** Families in the text form of Prometheus (version 0.0.4). */
export function prometheusText(families: readonly Family[]): string {
  const lines: string[] = [];
  for (const { name, kind, help, samples } of families) {
    if (help !== "")
      lines.push(`# HELP ${prefix}${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`);
    lines.push(`# TYPE ${prefix}${name} ${kind}`);
    for (const { suffix = "", tags, value } of samples)
      lines.push(`${prefix}${name}${suffix}${tagText(tags)} ${value}`);
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

function tagText(tags: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(tags).map(
    ([key, value]) =>
      `${key}="${value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

export class MetricsTable {
  readonly #metrics = new Map<string, Metric>();
  readonly #taken: () => readonly Family[];
  #cells = 0;

  /** `taken`: the runtime's own families, whose names programs may not use. */
  constructor(taken: () => readonly Family[] = () => []) {
    this.#taken = taken;
  }

  /** A process's report: answers what of it was refused, and why. */
  report(fields: Fields): Fields {
    const refused: string[] = [];
    for (const given of (fields.metrics as Fields[] | undefined) ?? []) {
      const why = this.#add(given);
      if (why !== null) refused.push(why);
    }
    return { refused };
  }

  #add(given: Fields): string | null {
    const name = String(given.name);
    const kind = String(given.kind);
    const tagKeys = (given.tagKeys as string[] | undefined) ?? [];
    const boundaries = (given.boundaries as number[] | undefined) ?? [];
    let metric = this.#metrics.get(name);
    if (metric === undefined) {
      if (this.#metrics.size >= maxMetrics)
        return `the metric ${name} is not kept: there are ${maxMetrics} already`;
      const names = textNames(name, kind);
      const overlaps = (other: { name: string; kind: string }): boolean =>
        textNames(other.name, other.kind).some((one) => names.includes(one));
      if (this.#taken().some(overlaps))
        return `the metric ${name} is not kept: the runtime has one of that name; give it another name`;
      for (const [other, { kind }] of this.#metrics)
        if (overlaps({ name: other, kind }))
          return `the metric ${name} is not kept: the ${kind} ${other} writes lines of the same name; give it another name`;
      const description = String(given.description ?? "");
      metric = { kind, description, tagKeys, boundaries, cells: new Map() };
      this.#metrics.set(name, metric);
    }
    const same =
      metric.kind === kind &&
      metric.tagKeys.join() === tagKeys.join() &&
      metric.boundaries.join() === boundaries.join();
    if (!same)
      return (
        `the ${kind} ${name} is not kept: another program made a ${metric.kind} of that name ` +
        `with the tags [${metric.tagKeys.join(", ")}]${metric.kind === "histogram" ? ` and the boundaries [${metric.boundaries.join(", ")}]` : ""}`
      );
    for (const cell of given.cells as Cell[]) {
      const why = this.#addCell(name, metric, cell);
      if (why !== null) return why;
    }
    return null;
  }

  #addCell(name: string, metric: Metric, { tags, value, counts }: Cell): string | null {
    const key = tags.join("\0");
    const known = metric.cells.get(key);
    if (known === undefined) {
      if (this.#cells >= maxCells)
        return `a tag of the metric ${name} has too many values: ${maxCells} combinations are kept`;
      this.#cells++;
      metric.cells.set(key, { tags, value, counts });
    } else {
      known.value = metric.kind === "gauge" ? value : known.value + value;
      if (known.counts !== null && counts !== null)
        known.counts = known.counts.map((count, i) => count + (counts[i] ?? 0));
    }
    return null;
  }

  /** All metrics, by name. */
  families(): Family[] {
    return [...this.#metrics]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, metric]) => ({
        name,
        kind: metric.kind,
        help: metric.description,
        samples: [...metric.cells.values()].flatMap((cell) => samplesOf(metric, cell)),
      }));
  }
}

function samplesOf(metric: Metric, cell: Cell): Sample[] {
  const tags = Object.fromEntries(metric.tagKeys.map((key, i) => [key, cell.tags[i] ?? ""]));
  if (cell.counts === null) return [{ tags, value: cell.value }];
  let total = 0;
  const ranges = [...metric.boundaries.map(String), "+Inf"];
  const buckets = ranges.map((le, i) => {
    total += cell.counts?.[i] ?? 0;
    return { suffix: "_bucket", tags: { ...tags, le }, value: total };
  });
  return [
    ...buckets,
    { suffix: "_sum", tags, value: cell.value },
    { suffix: "_count", tags, value: total },
  ];
}
