// SPDX-License-Identifier: Apache-2.0
// Where a task or actor may run: what the `scheduling` and `labels` options mean for the resources that it asks for.
// The same rules as python-bridge/src/polyray/placement.py: work goes into a bundle by resources of its group; a node or
// label that is required and is not here becomes a resource that no node has, so that the raylet refuses it.

import { InvalidOptionError } from "../base/errors.ts";
import { type Amounts, inBundle } from "../base/group-resources.ts";
import type { Connection } from "./connection.ts";
import { taskContext } from "./task-context.ts";
import type { Scheduling, SharedOptions } from "./types.ts";

/** A spec's resources and scheduling text once its options are applied. */
export interface Placed {
  readonly amounts: Record<string, number>;
  readonly scheduling: string | null;
  readonly group: string | null;
}

/** How a spec with bundles was placed: what its scheduling text says. */
export interface GroupPlace {
  readonly group: string;
  readonly bundle: number;
  readonly capture: boolean;
}

/** True once this process ran something whose submissions go into its placement group. */
export const capturing = { on: false };

/** The place that a spec's scheduling text names; null outside of placement groups. */
export function parsePlace(scheduling: string | null | undefined): GroupPlace | null {
  return scheduling?.startsWith("{") === true ? (JSON.parse(scheduling) as GroupPlace) : null;
}

/** The placement group of what runs here. */
export function currentPlace(): GroupPlace | null {
  return parsePlace(taskContext.getStore()?.scheduling);
}

/** Says what is wrong with a `scheduling` option, or null. */
export function schedulingError(value: unknown): string | null {
  if (value === "default" || value === "spread") return null;
  if (typeof value === "object" && value !== null) {
    if ("placementGroup" in value || "nodeId" in value) return null;
    if ("hard" in value || "soft" in value) return null;
  }
  return `"default", "spread", pg.bundle(i), pg.any(), nodeAffinity(id) or nodeLabels({...})`;
}

/** Applies the options. */
export function place(current: Connection, options: SharedOptions, amounts: Amounts): Placed {
  const wanted: Record<string, number> = { ...amounts };
  if (options.acceleratorType !== undefined)
    wanted[`accelerator_type:${options.acceleratorType}`] = 10;
  const scheduling = options.scheduling;
  for (const [key, label] of Object.entries(options.labels ?? {}))
    if (!matches(label, labelsOf(current)[key])) wanted[`node_label:${key}`.slice(0, 55)] = 1;
  if (typeof scheduling === "object" && "nodeId" in scheduling) {
    if (scheduling.nodeId !== current.place.nodeId && scheduling.soft !== true)
      wanted[`node_affinity:${scheduling.nodeId.slice(0, 40)}`] = 1;
  } else if (typeof scheduling === "object" && !("placementGroup" in scheduling)) {
    for (const [key, label] of Object.entries(scheduling.hard ?? {}))
      if (!matches(label, labelsOf(current)[key])) wanted[`node_label:${key}`.slice(0, 55)] = 1;
  }
  const own = groupOf(scheduling);
  if (own === null) {
    // What is asked for besides the options' amounts tells specs apart.
    const more = Object.keys(wanted).filter((name) => amounts[name] === undefined);
    const text = [textOf(scheduling) ?? "", ...more].join(" ").trim();
    return { amounts: wanted, scheduling: text === "" ? null : text, group: null };
  }
  return {
    amounts: inBundle(own.group, own.bundle, wanted),
    scheduling: JSON.stringify(own),
    group: own.group,
  };
}

function groupOf(scheduling: Scheduling | undefined): GroupPlace | null {
  const parent = currentPlace();
  if (scheduling === undefined) return parent?.capture === true ? { ...parent, bundle: -1 } : null;
  if (typeof scheduling !== "object" || !("placementGroup" in scheduling)) return null;
  const { placementGroup: group, bundle = -1, bundleCount } = scheduling;
  if (
    !Number.isInteger(bundle) ||
    bundle < -1 ||
    (bundleCount !== undefined && bundle >= bundleCount)
  )
    throw new InvalidOptionError(
      `[invalid option] the placement group has no bundle ${bundle}. Valid bundles: 0 to ${(bundleCount ?? 1) - 1}, or pg.any().`,
    );
  return { group, bundle, capture: scheduling.captureChildren ?? parent?.capture ?? false };
}

function textOf(scheduling: Scheduling | undefined): string | null {
  if (scheduling === undefined) return null;
  if (typeof scheduling === "string") return scheduling.toUpperCase();
  return "nodeId" in scheduling ? "NodeAffinitySchedulingStrategy" : "NodeLabelSchedulingStrategy";
}

const known = new WeakMap<Connection, Readonly<Record<string, string>>>();

function labelsOf(current: Connection): Readonly<Record<string, string>> {
  let labels = known.get(current);
  if (labels === undefined) {
    const rows = current.requestNow("nodes").nodes as {
      nodeId: string;
      labels: Record<string, string>;
    }[];
    const { nodeId } = current.place;
    labels = { "ray.io/node-id": nodeId, ...rows.find((row) => row.nodeId === nodeId)?.labels };
    known.set(current, labels);
  }
  return labels;
}

/** Whether a label's value is taken: "a", "!a", "in(a,b)", "!in(a,b)", { in }, { notIn }, { exists }. */
export function matches(wanted: unknown, value: string | undefined): boolean {
  if (typeof wanted === "string") {
    const several = /^(!?)in\((.*)\)$/.exec(wanted);
    if (several !== null) {
      const names = (several[2] as string).split(",").map((one) => one.trim());
      return names.includes(value ?? "") !== (several[1] === "!");
    }
    return wanted.startsWith("!") ? value !== wanted.slice(1) : value === wanted;
  }
  const rule = wanted as { in?: string[]; notIn?: string[]; exists?: boolean };
  if (rule.in !== undefined && (value === undefined || !rule.in.includes(value))) return false;
  if (rule.notIn !== undefined && value !== undefined && rule.notIn.includes(value)) return false;
  return rule.exists === undefined || rule.exists === (value !== undefined);
}
