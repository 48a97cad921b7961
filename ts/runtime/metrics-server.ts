// SPDX-License-Identifier: Apache-2.0
// The metrics over HTTP, for Prometheus to scrape: on loopback, only when a port was asked for.
// `GET /metrics` gives the text, `GET /` says where it is. It answers nobody who reached it by another name than loopback's
// (a web page that a browser was made to believe is here).

import { createServer } from "node:http";
import { SystemError } from "../base/errors.ts";

export interface MetricsServer {
  readonly port: number;
  close(): void;
}

const contentType = "text/plain; version=0.0.4; charset=utf-8";
const loopback = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/;

/** Listens on 127.0.0.1 (0: any port). Rejects with SystemError when the port is taken. */
export function startMetricsServer(port: number, text: () => string): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = "text/plain; charset=utf-8"): void => {
      response.writeHead(status, {
        "content-type": type,
        "content-length": Buffer.byteLength(body),
      });
      response.end(request.method === "HEAD" ? undefined : body);
    };
    const path = (request.url ?? "/").split("?")[0];
    if (!loopback.test(request.headers.host ?? "")) answer(403, "loopback only\n");
    else if (request.method !== "GET" && request.method !== "HEAD") answer(405, "GET only\n");
    else if (path === "/metrics") {
      try {
        answer(200, text(), contentType);
      } catch (error) {
        answer(500, `${(error as Error).message}\n`);
      }
    } else if (path === "/") answer(200, "polyray: see /metrics\n");
    else answer(404, "not here: see /metrics\n");
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new SystemError(
          `[system] metrics cannot be served on 127.0.0.1:${port}: ${error.message}. Choose another metrics port, or 0 for any.`,
          { cause: error },
        ),
      ),
    );
    server.listen(port, "127.0.0.1", () => {
      server.unref();
      const address = server.address();
      resolve({
        port: typeof address === "object" && address !== null ? address.port : port,
        close: () => {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}
