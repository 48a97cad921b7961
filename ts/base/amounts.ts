// SPDX-License-Identifier: Apache-2.0
// Amounts of resources as users write them: from the fixed-point amounts of the node, and as bytes.

import { InvalidOptionError } from "./errors.ts";
import { limits } from "./limits.ts";

/** Amounts in units (limits.resourceUnit is 1) as the numbers of users: 5000 -> 0.5. */
export function userAmounts(units: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(units).map(([name, amount]) => [name, amount / limits.resourceUnit]),
  );
}

/** Bytes of a number or of text such as "512MB", "4GiB", "1G". Throws InvalidOptionError. */
export function parseBytes(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return Math.floor(value);
  const match =
    typeof value === "string" ? /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)\s*$/i.exec(value) : null;
  if (match === null)
    throw new InvalidOptionError(
      `[invalid option] not an amount of bytes: ${String(value)}. Use a number or text such as "4GiB".`,
    );
  const power = " kmgt".indexOf((match[2] ?? "").toLowerCase() || " ");
  // "1G" and "1GiB" are powers of 1024 (as Spark and Kubernetes' Gi), "1GB" of 1000.
  const base = match[3] === "" && match[4] !== "" && power > 0 ? 1000 : 1024;
  return Math.floor(Number(match[1]) * base ** power);
}
