// SPDX-License-Identifier: Apache-2.0
// init and shutdown: starts the runtime inside this process, or joins a running one, and makes it this process's own.
//
// Owns the current runtime of this environment. Starting is synchronous (native thread, service thread); what takes time
// is that the service answers, which `init` awaits. Functions that need a runtime start one at their first use.
// Invariants: (1) at most one runtime an environment; (2) a worker never starts one; (3) after shutdown nothing of it
// keeps the process alive.

import { isMainThread } from "node:worker_threads";
import { InvalidOptionError, makeError, PolyrayError } from "../base/errors.ts";
import { Connection, type Place } from "../core/connection.ts";
import { connectionOrNull, onFirstUse, setConnection } from "../core/context.ts";
import { loggingVariables } from "../core/logging.ts";
import { flushMetrics } from "../core/metrics.ts";
import { taskContext } from "../core/task-context.ts";
import {
  asksHere,
  canTrace,
  needsSetUp,
  setUpTracing,
  startTracing,
  stopTracing,
  type TracingOptions,
  tracingAsked,
  tracingVariable,
  tracingVariables,
} from "../core/tracing.ts";
import { driverKeyBase, workerKey } from "../core/worker-key.ts";
import { startInline } from "../inline/start.ts";
import { EndpointKind } from "../native/binding.ts";
import { loadNative } from "../native/load.ts";
import { findSession } from "../node/session.ts";
import { nodeConfig } from "../runtime/config.ts";
import { type EmbeddedRuntime, startEmbedded } from "../runtime/embedded.ts";
import { checkInitOptions, checkInline, type InitOptions, nodeOptions } from "./init-options.ts";
import { questions } from "./observer.ts";

/** What `init` gives. `await using rt = await init()` shuts it down at the end of the block. */
export interface Runtime extends AsyncDisposable {
  /** By which other programs of this user join: `init({ address })`, `polyray.init(address=...)`. */
  readonly address: string;
  readonly nodeId: string;
  readonly namespace: string;
  /** The dashboard is not built yet. */
  readonly dashboardUrl: string | null;
  /** Folder of the session: logs lie in it. */
  readonly sessionDir: string;
  /** Where Prometheus scrapes, when `metricsPort` was given; else null. */
  readonly metricsUrl: string | null;
}

/** A place that can be attached to. */
interface SessionPlace extends Place {
  readonly socketName: string;
  readonly token: string;
  readonly metricsPort?: number | undefined;
}

interface Current {
  readonly connection: Connection;
  readonly runtime: Runtime;
  readonly embedded: EmbeddedRuntime | null;
  /** Settles when the service knows this driver. */
  readonly ready: Promise<void>;
}

let current: Current | null = null;
let stopping: Promise<void> | null = null;

/**
 * Starts a runtime in this process, or joins one: `init({ address: "auto" })`.
 * Throws InvalidOptionError, SystemError (nothing at that address; no shared memory), ObjectStoreFullError.
 */
export async function init(options: InitOptions = {}): Promise<Runtime> {
  checkInitOptions(options);
  // In a worker; or in a task of an inline runtime, which must not see a difference.
  const executes = connectionOrNull()?.executor != null;
  if (executes && (current === null || taskContext.getStore() !== undefined))
    return workerRuntime();
  if (stopping !== null) await stopping;
  const asked = questions();
  if (asked !== null) await asked;
  const traced = tracingHere(options);
  if (current === null && traced !== null) await setUpTracing(traced);
  if (current !== null) {
    if (options.ignoreReinitError !== true) {
      throw makeError(
        "INVALID_OPTION",
        "init() was called twice: a runtime runs in this process. Call shutdown() first, or pass ignoreReinitError: true",
      );
    }
    await current.ready;
    return current.runtime;
  }
  const started = start(options);
  try {
    await started.ready;
  } catch (error) {
    await shutdown().catch(() => undefined);
    throw error;
  }
  return started.runtime;
}

/** Ends this process's part of the runtime: an embedded one with all its workers; one that was joined goes on. */
export async function shutdown(): Promise<void> {
  if (stopping !== null) return stopping;
  const ending = current;
  if (ending === null) return;
  current = null;
  setConnection(null);
  stopTracing();
  stopping = stop(ending).finally(() => {
    stopping = null;
  });
  await stopping;
}

/** True between init (or the first use) and shutdown. */
export function isInitialized(): boolean {
  return connectionOrNull() !== null;
}

async function stop(ending: Current): Promise<void> {
  await ending.ready.catch(() => undefined);
  await flushMetrics(ending.connection);
  ending.connection.close(makeError("CLOSED", "the runtime was shut down"));
  if (ending.embedded === null) return;
  noteSession(null);
  await ending.embedded.stop();
}

function start(options: InitOptions): Current {
  if (stopping !== null)
    throw makeError(
      "CLOSED",
      "the runtime is being shut down: await shutdown() before the next use",
    );
  if (tracingHere(options) !== null) startTracing();
  try {
    return startAsked(options);
  } catch (error) {
    stopTracing();
    throw error;
  }
}

// What this program asks for, unless it is for Python's sake alone and this one lacks the package.
function tracingHere(options: InitOptions): TracingOptions | null {
  const asked = tracingAsked(options.tracing);
  return asked === null || asksHere(asked) || canTrace() ? asked : null;
}

function startAsked(options: InitOptions): Current {
  if (options.mode === "inline") return startInlineRuntime(options);
  const address = options.address ?? process.env.POLYRAY_ADDRESS ?? process.env.RAY_ADDRESS;
  if (!isMainThread && (address === undefined || address === "")) {
    const shared = sharedSession();
    if (shared !== null) return join(shared, options);
  }
  if (address === undefined || address === "" || address === "local") return startHere(options);
  for (const name of [
    "numCpus",
    "numGpus",
    "resources",
    "labels",
    "objectStoreMemory",
    "objectSpillingDirectory",
    "memory",
    "metricsPort",
  ] as const) {
    if (options[name] !== undefined) {
      throw new InvalidOptionError(
        `[invalid option] ${name} belongs to the node that is started; a runtime that is joined (${address}) has its own. Leave it out.`,
      );
    }
  }
  return join(findSession(address), options);
}

function startHere(options: InitOptions): Current {
  const node = startEmbedded(nodeOptions(options));
  let opened: Connection | null = null;
  let embedded: EmbeddedRuntime;
  try {
    opened = open(node.place, options);
    embedded = node.serve(opened.keyBase.job, firstWorkerKey(opened));
  } catch (error) {
    opened?.close();
    node.abandon();
    throw error;
  }
  const started = become(opened, embedded, embedded, introduce(opened, embedded, options));
  noteSession(embedded);
  return started;
}

function join(place: SessionPlace, options: InitOptions): Current {
  const opened = open(place, options);
  return become(opened, place, null, introduce(opened, null, options));
}

/** Makes a connection that of this process. */
function become(
  opened: Connection,
  place: Omit<SessionPlace, "socketName" | "token">,
  embedded: EmbeddedRuntime | null,
  ready: Promise<void>,
): Current {
  let metricsPort = place.metricsPort ?? null;
  void embedded?.ready.then(
    (port) => {
      metricsPort = port;
    },
    () => undefined,
  );
  const runtime: Runtime = {
    get metricsUrl() {
      return metricsPort === null ? null : `http://127.0.0.1:${metricsPort}/metrics`;
    },
    address: place.address,
    nodeId: place.nodeId,
    namespace: opened.place.namespace,
    dashboardUrl: null,
    sessionDir: place.sessionDir,
    [Symbol.asyncDispose]: () => (current?.runtime === runtime ? shutdown() : Promise.resolve()),
  };
  ready.catch(() => undefined); // init awaits it; at first use its failure shows as that of the calls
  current = { connection: opened, runtime, embedded, ready };
  setConnection(opened);
  opened.onShutdown = () => lost(opened);
  return current;
}

function startInlineRuntime(options: InitOptions): Current {
  checkInline(options);
  const { resources, labels } = nodeConfig(nodeOptions(options));
  const opened = startInline({
    resources,
    labels,
    namespace: options.namespace ?? "",
    envVars: options.runtimeEnv?.envVars ?? {},
  });
  return become(opened, opened.place, null, flushMetrics(opened));
}

function open(place: SessionPlace, options: InitOptions): Connection {
  const native = loadNative();
  const namespace = options.namespace ?? place.namespace;
  return new Connection(
    native,
    {
      socketName: place.socketName,
      token: place.token,
      kind: EndpointKind.driver,
      startupToken: "0",
      job: 0,
      sendStdio: (options.logToDriver ?? true) && isMainThread,
    },
    driverKeyBase(0, namespace, options.runtimeEnv, {
      ...loggingVariables(options.logging),
      ...tracingVariables(tracingAsked(options.tracing), options.tracing === false),
    }),
    {
      address: place.address,
      nodeId: place.nodeId,
      sessionDir: place.sessionDir,
      sessionId: place.sessionId,
      namespace,
    },
  );
}

async function introduce(
  opened: Connection,
  embedded: EmbeddedRuntime | null,
  options: InitOptions,
): Promise<void> {
  if (embedded !== null) await embedded.ready;
  const answer = await opened.request("job.info", {
    job: opened.keyBase.job,
    namespace: opened.place.namespace,
    entrypoint: process.argv[1] ?? "",
    cwd: process.cwd(),
    language: "ts",
    pid: process.pid,
    logToDriver: options.logToDriver ?? true,
  });
  const traced = (answer.tracing ?? null) as TracingOptions | null;
  if (traced !== null && opened.keyBase.envVars[tracingVariable] === undefined)
    await traceAs(opened, traced);
  await prepareEnvironment(opened);
  await flushMetrics(opened); // what was recorded before
}

// A worker that has to be set up first starts with its first call: that one is told what fails.
function firstWorkerKey({ keyBase }: Connection): string | null {
  return keyBase.runtimeEnv === undefined ? workerKey(keyBase, "ts") : null;
}

// The runtime that was joined asks for it (`polyray start --tracing-startup-hook`), and this program says nothing of it.
// One that lacks the package did not ask: it goes on without spans, and so do its TypeScript workers when they lack it too.
async function traceAs(opened: Connection, told: TracingOptions): Promise<void> {
  const able = canTrace();
  const { setup, ...others } = told;
  const traced = able ? told : others;
  if (able) {
    await setUpTracing(traced);
    if (current?.connection !== opened) return; // shutdown() came meanwhile
    startTracing();
  }
  const envVars = { ...opened.keyBase.envVars, ...tracingVariables(traced) };
  opened.keyBase = { ...opened.keyBase, envVars };
  opened.keyVersion++;
}

// Local folders of the job's environment become packages now, as they are; what takes long begins.
async function prepareEnvironment(opened: Connection): Promise<void> {
  const { runtimeEnv, cwd, python, job } = opened.keyBase;
  if (runtimeEnv === undefined) return;
  const key = { language: "ts", cwd, python, job };
  const answer = await opened.request("env.prepare", { runtimeEnv, cwd, key });
  opened.keyBase = {
    ...opened.keyBase,
    runtimeEnv: answer.runtimeEnv as Readonly<Record<string, unknown>>,
  };
}

/** The runtime ended without our doing (its process died, or `polyray stop`). */
function lost(opened: Connection): void {
  if (current?.connection !== opened) return;
  current = null;
  setConnection(null);
  stopTracing();
  opened.close(makeError("LOCAL_RAYLET_DIED", `the runtime at ${opened.place.address} ended`));
}

/** In a worker the runtime is there already. */
function workerRuntime(): Runtime {
  const opened = connectionOrNull();
  if (opened === null) throw new PolyrayError("no runtime");
  const { address, nodeId, namespace, sessionDir } = opened.place;
  return {
    address,
    nodeId,
    namespace,
    sessionDir,
    dashboardUrl: null,
    metricsUrl: null,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

// worker_threads of this process join the runtime that the process has: they find it by the process's note.

function noteSession(place: SessionPlace | null): void {
  if (place === null) return loadNative().setRuntimeNote(null);
  const { socketName, token, address, nodeId, sessionDir, sessionId, namespace } = place;
  loadNative().setRuntimeNote(
    JSON.stringify({
      socketName,
      token,
      address,
      nodeId,
      sessionDir,
      sessionId,
      namespace,
    } satisfies SessionPlace),
  );
}

function sharedSession(): SessionPlace | null {
  const note = loadNative().runtimeNote();
  return note === null ? null : (JSON.parse(note) as SessionPlace);
}

onFirstUse(() => {
  if (questions() !== null)
    throw makeError(
      "NOT_INITIALIZED",
      "no runtime can be started while a question of the state API is under way: await it, or init(), before the first use",
    );
  const traced = tracingHere({});
  if (traced !== null && needsSetUp(traced))
    throw makeError(
      "NOT_INITIALIZED",
      `call init() first: tracing has a set-up (${tracingVariable}), which runs before the first call`,
    );
  return start({}).connection;
});
