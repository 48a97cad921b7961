// SPDX-License-Identifier: Apache-2.0
// Checks of time limits and signals. Pure.

import { checkOptions, checks } from "../core/checks.ts";
import type { WaitOptions } from "../core/types.ts";

const waitChecks = {
  timeoutMs: checks.durationMs,
  signal: checks.signal,
};

/** Returns the options. Throws InvalidOptionError. */
export function checkWaitOptions<O extends WaitOptions>(options: O, where: string): O {
  checkOptions(options, waitChecks, where);
  return options;
}
