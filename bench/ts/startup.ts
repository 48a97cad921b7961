// SPDX-License-Identifier: Apache-2.0
//
// From init() to the first result of a task, in a fresh process. Then it idles until its input
// ends, so that its processes can be counted.

import { emit } from "./harness.ts";

const importing = performance.now();
const { get, init, shutdown, version } = await import("polyray");
const { smallValue } = await import("./remote.ts");
const starting = performance.now();
await init();
const started = performance.now();
await get(smallValue.remote());
const done = performance.now();
emit("ready", {
  version,
  importMs: starting - importing,
  initMs: started - starting,
  firstResultMs: done - starting,
  endedAtMs: Date.now(),
});
process.stdin.resume();
await new Promise((resolve) => process.stdin.once("end", resolve));
const stopping = performance.now();
await shutdown();
emit("end", { shutdownMs: performance.now() - stopping });
