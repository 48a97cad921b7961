// SPDX-License-Identifier: Apache-2.0
// Checks of time limits and signals. Pure.

import { checkOptions } from "../core/options.ts";
import type { WaitOptions } from "../core/types.ts";

const waitChecks = {
  timeoutMs: (value: unknown) =>
    typeof value === "number" && value >= 0 ? null : "milliseconds, a number >= 0",
  signal: (value: unknown) => (value instanceof AbortSignal ? null : "an AbortSignal"),
};

/** Returns the options. Throws InvalidOptionError. */
export function checkWaitOptions<O extends WaitOptions>(options: O, where: string): O {
  checkOptions(options, waitChecks, where);
  return options;
}
