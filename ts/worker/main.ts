// SPDX-License-Identifier: Apache-2.0
// Entry of a TypeScript worker process. Attaches by the environment that the node service set (docs/design/0001-core.md),
// then runs what comes until the runtime ends. It is the leader of its own session: ending it ends what it started.

import { makeError, type PolyrayError } from "../base/errors.ts";
import { ownVariables } from "../core/accelerators.ts";
import { Connection } from "../core/connection.ts";
import { setConnection } from "../core/context.ts";
import { loadPlugins } from "../core/plugins.ts";
import "../core/queue.ts";
import "../core/remote-codec.ts";
import "../core/stream-travel.ts";
import "../core/sync.ts";
import { taskContext } from "../core/task-context.ts";
import { importUser } from "../core/user-module.ts";
import { inheritedKeyBase } from "../core/worker-key.ts";
import { EndpointKind } from "../native/binding.ts";
import { loadNative } from "../native/load.ts";
import { TaskExecutor } from "./executor.ts";
import { refuseSpecs } from "./load-spec.ts";
import { shapeConsole } from "./log-lines.ts";
import { markOutput } from "./output.ts";
import { runSetupHook, useModules } from "./set-up.ts";
import { lastWords, sendSpans, setUpWorkerTracing } from "./tracing.ts";

function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined)
    throw makeError(
      "INVALID_ARGUMENT",
      `${name} is not set: this program is started by polyray, not by hand`,
    );
  return value;
}

const native = loadNative();
const keyBase = inheritedKeyBase(variable("POLYRAY_JOB_CONFIG"));
const connection = new Connection(
  native,
  {
    socketName: variable("POLYRAY_SOCKET"),
    token: variable("POLYRAY_TOKEN"),
    kind: EndpointKind.worker,
    startupToken: variable("POLYRAY_STARTUP_TOKEN"),
    job: 0,
    sendStdio: false,
  },
  keyBase,
  {
    address: process.env.POLYRAY_ADDRESS ?? "",
    nodeId: process.env.POLYRAY_NODE_ID ?? "",
    sessionDir: process.env.POLYRAY_SESSION_DIR ?? "",
    sessionId: process.env.POLYRAY_SESSION_ID ?? "",
    namespace: process.env.POLYRAY_NAMESPACE ?? "",
  },
);
// Programs that this worker starts are drivers of the same runtime, not this worker.
for (const name of [
  "POLYRAY_STARTUP_TOKEN",
  "POLYRAY_SOCKET",
  "POLYRAY_TOKEN",
  "POLYRAY_JOB_CONFIG",
])
  delete process.env[name];

const executor = new TaskExecutor(connection);
connection.executor = executor;
const endInOrder = (last: () => Promise<void>): void =>
  void executor
    .dispose()
    .then(last)
    .finally(() => process.exit(0));
connection.onShutdown = () => endInOrder(sendSpans);
// How the raylet ends a worker in order; after a grace it kills.
process.once("SIGTERM", () => endInOrder(() => lastWords(connection)));
setConnection(connection);
markOutput();
shapeConsole(connection.identity());
ownVariables();
native.startControlThread();

process.on("unhandledRejection", (reason: unknown) => {
  const name = taskContext.getStore()?.taskName ?? executor.currentName();
  const text = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
  process.stderr.write(`unhandled rejection in ${name}: ${text}\n`);
  // Its state can no longer be trusted: a task worker is replaced after the current task. An actor keeps its state.
  executor.recycleSoon();
});

if (process.env.POLYRAY_WORKING_DIR !== undefined) process.chdir(process.env.POLYRAY_WORKING_DIR);
if (process.env.POLYRAY_NODE_MODULES !== undefined) useModules(process.env.POLYRAY_NODE_MODULES);
const setUpError =
  (await runSetupHook(importUser)) ??
  (await setUpWorkerTracing()) ??
  (await loadPlugins(connection).then(() => null, pluginError));
if (setUpError !== null) refuseSpecs(setUpError);

function pluginError(error: unknown): PolyrayError {
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return makeError("RUNTIME_ENV_SETUP", `a worker plugin failed in the worker: ${why}`, {
    cause: error,
  });
}

native.setRef(true);
connection.store.hold();
native.workerReady();
native.flush();
