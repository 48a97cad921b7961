// SPDX-License-Identifier: Apache-2.0
// How work is placed into a bundle of a placement group: by resources of the group's own, such as `CPU_group_0_<id>`, which
// the raylet gives out once the group is reserved. The same names are made by python-bridge/src/polyray/placement.py.
// Pure. Invariants: (1) a name fits the wire (55 bytes); (2) every request names the group's bundle resource.

import { createHash } from "node:crypto";
import { limits } from "./limits.ts";

/** Amounts by resource name, in the fixed-point unit of the wire. */
export type Amounts = Readonly<Record<string, number>>;

const maxNameBytes = 55;
const bundleUnits = 1000;
const shareUnits = 0.001;

function groupName(resource: string, index: number, id: string): string {
  const middle = index < 0 ? "group" : `group_${index}`;
  const full = `${resource}_${middle}_${id}`;
  if (Buffer.byteLength(full) <= maxNameBytes) return full;
  const digest = createHash("sha1").update(resource).digest("hex").slice(0, 8);
  const start = Buffer.from(resource)
    .subarray(0, 12)
    .toString("latin1")
    .replace(/[^ -~]/g, "?");
  return `${start}~${digest}_${middle}_${id.slice(0, 16)}`;
}

/** What a task or actor asks for to run in bundle `index` of the group (-1: in any). */
export function inBundle(id: string, index: number, amounts: Amounts): Record<string, number> {
  const found: Record<string, number> = {};
  const share = Math.round(shareUnits * limits.resourceUnit);
  for (const [name, amount] of [...Object.entries(amounts), ["bundle", share] as const]) {
    found[groupName(name, -1, id)] = amount;
    if (index >= 0) found[groupName(name, index, id)] = amount;
  }
  return found;
}

/** What all bundles take from the node, and the resources that the group gives out instead. */
export function groupAmounts(
  id: string,
  bundles: readonly Amounts[],
): { need: Record<string, number>; extra: Record<string, number> } {
  const need: Record<string, number> = {};
  const extra: Record<string, number> = {};
  const add = (to: Record<string, number>, name: string, amount: number): void => {
    to[name] = (to[name] ?? 0) + amount;
  };
  bundles.forEach((bundle, index) => {
    const unit = bundleUnits * limits.resourceUnit;
    for (const [name, amount] of Object.entries(bundle)) add(need, name, amount);
    for (const [name, amount] of [...Object.entries(bundle), ["bundle", unit] as const]) {
      add(extra, groupName(name, -1, id), amount);
      add(extra, groupName(name, index, id), amount);
    }
  });
  return { need, extra };
}
