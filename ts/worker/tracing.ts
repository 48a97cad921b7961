// SPDX-License-Identifier: Apache-2.0
// Tracing in a worker: set up before its first call, a span around each call that brings its caller's, sent before it leaves.

import { makeError, type PolyrayError } from "../base/errors.ts";
import { splitOptions } from "../core/call-options.ts";
import type { Connection } from "../core/connection.ts";
import { flushLastMetrics } from "../core/metrics.ts";
import type { TaskContext } from "../core/task-context.ts";
import {
  canTrace,
  constructorName,
  type Execution,
  passTraces,
  setUpTracing,
  startTracing,
  tracing,
  tracingAsked,
} from "../core/tracing.ts";
import { CallKind } from "../native/binding.ts";
import type { Call } from "./call.ts";

/** How long the program's exporter may take when a worker leaves. */
const flushMs = 1000;

/** Turns tracing on when the job asks for it; gives the error that calls are to be answered with, or null. */
export async function setUpWorkerTracing(): Promise<PolyrayError | null> {
  try {
    const asked = tracingAsked(undefined);
    if (asked === null) return null;
    if (asked.setup === undefined && !canTrace()) {
      passTraces(); // the program may have asked for Python's sake alone
      return null;
    }
    await setUpTracing(asked);
    startTracing();
    return null;
  } catch (error) {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return makeError("RUNTIME_ENV_SETUP", `tracing could not be set up in the worker: ${why}`, {
      cause: error,
    });
  }
}

/** Takes the options of a call out of its keyword arguments; the span of the run when it is traced. Throws for others. */
export function openSpan(
  call: Call,
  context: TaskContext,
  given: Record<string, unknown>,
): Execution | null {
  const { options, kwargs } = splitOptions(given);
  if (kwargs !== null)
    throw makeError(
      "INVALID_ARGUMENT",
      `${context.taskName} is TypeScript: it takes no keyword arguments`,
    );
  if (tracing.on === null || options?.trace === undefined) return null;
  const { taskName, taskId, actorId } = context;
  const name =
    call.kind === CallKind.actorCreate ? `${taskName}.${constructorName("ts")}` : taskName;
  const kind = call.kind === CallKind.task ? "task" : "method";
  return tracing.on.open({ kind, name, actorId, taskId }, options.trace);
}

/** Sends what this worker has measured and traced. */
export async function lastWords(connection: Connection): Promise<void> {
  await Promise.all([flushLastMetrics(connection), sendSpans()]);
}

/** Sends the spans that the program's SDK still holds. */
export async function sendSpans(): Promise<void> {
  if (tracing.on === null) return;
  const sent = tracing.on.flush().catch(() => undefined); // the exporter says itself what is wrong
  await Promise.race([sent, pause(flushMs)]);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
