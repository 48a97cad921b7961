// SPDX-License-Identifier: Apache-2.0
// What a driver starts for itself: a head without TCP that ends with the driver's pipe. Its flags are those of
// `polyray start`, each with one value. A program of its own, since the parser of the command line takes a tenth of a start.

import { PolyrayError } from "../base/errors.ts";
import { start } from "./commands/start.ts";

const one = new Map<string, string>();
const folders: string[] = [];
const args = process.argv.slice(2);
for (let at = 0; at < args.length; at += 2) {
  const [flag = "", value = ""] = args.slice(at, at + 2);
  if (flag === "--object-spilling-directory") folders.push(value);
  else one.set(flag, value);
}

function number(flag: string): number | undefined {
  const value = one.get(flag);
  return value === undefined ? undefined : Number(value);
}

try {
  await start({
    head: true,
    embedded: true,
    nodeIpAddress: "127.0.0.1",
    port: 0,
    lifelineFd: number("--lifeline-fd"),
    readyFd: number("--ready-fd"),
    python: one.get("--python"),
    numCpus: number("--num-cpus"),
    numGpus: number("--num-gpus"),
    memory: number("--memory"),
    objectStoreMemory: number("--object-store-memory"),
    metricsPort: number("--metrics-port"),
    resources: JSON.parse(one.get("--resources") ?? "{}"),
    labels: one.get("--labels"),
    namespace: one.get("--namespace"),
    plasmaDirectory: one.get("--plasma-directory"),
    objectSpillingDirectory: folders.length === 0 ? undefined : folders,
    systemConfig: one.get("--system-config"),
    tempDir: one.get("--temp-dir"),
  });
} catch (error) {
  const text = error instanceof PolyrayError ? error.message : ((error as Error).stack ?? error);
  process.stderr.write(`polyray: ${text}\n`);
  process.exitCode = 1;
}
