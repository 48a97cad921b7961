// SPDX-License-Identifier: Apache-2.0
// Starts the scraping port when one was asked for; the HTTP module is not loaded otherwise.

import type { MetricsServer } from "./metrics-server.ts";
import type { NodeService } from "./service.ts";

/** Serves the metrics of a service that may not be there yet. Null: no port was asked for. */
export async function serveMetrics(
  port: number | undefined,
  service: () => NodeService | null,
): Promise<MetricsServer | null> {
  if (port === undefined) return null;
  const { startMetricsServer } = await import("./metrics-server.ts");
  return startMetricsServer(port, () => service()?.metricsText() ?? "");
}
