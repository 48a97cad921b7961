// SPDX-License-Identifier: Apache-2.0
// The runtime's metrics as text.

import { connection } from "../core/context.ts";
import { flushMetrics } from "../core/metrics.ts";

/**
 * All metrics of the runtime in the text form of Prometheus: its own counters, and what programs recorded with Counter,
 * Gauge and Histogram in both languages. What `polyray metrics` and the scraping port give.
 */
export async function metricsText(): Promise<string> {
  const current = connection();
  await flushMetrics();
  return String((await current.request("metrics.text")).text);
}
