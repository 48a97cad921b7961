// SPDX-License-Identifier: Apache-2.0
// Amounts of resources as users write them, from the fixed-point amounts of the node.

import { limits } from "./limits.ts";

/** Amounts in units (limits.resourceUnit is 1) as the numbers of users: 5000 -> 0.5. */
export function userAmounts(units: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(units).map(([name, amount]) => [name, amount / limits.resourceUnit]),
  );
}
