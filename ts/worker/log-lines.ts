// SPDX-License-Identifier: Apache-2.0
// This worker's console under `init({ logging })`: levels, and one JSON object a line.

import { format } from "node:util";
import { type LoggingConfig, loggingVariable, logLevels } from "../core/logging.ts";
import { taskContext } from "../core/task-context.ts";

/** Who writes, as far as it does not change. */
export interface LogIdentity {
  readonly jobId: string;
  readonly nodeId: string;
  readonly workerId: string;
}

const methods = {
  debug: "DEBUG",
  log: "INFO",
  info: "INFO",
  warn: "WARNING",
  error: "ERROR",
} as const;

/** Takes over console.* when the variable asks for it; before user code. */
export function shapeConsole(identity: LogIdentity): void {
  const text = process.env[loggingVariable];
  if (text === undefined) return;
  const { encoding, level, attrs } = JSON.parse(text) as LoggingConfig;
  for (const [name, own] of Object.entries(methods)) {
    const method = name as keyof typeof methods;
    const plain = console[method].bind(console);
    const isShown = logLevels.indexOf(own) >= logLevels.indexOf(level);
    const json = (...args: unknown[]): void =>
      plain("%s", JSON.stringify(record(identity, own, format(...args), attrs)));
    console[method] = isShown ? (encoding === "json" ? json : plain) : () => undefined;
  }
}

function record(
  identity: LogIdentity,
  level: string,
  message: string,
  attrs: readonly string[],
): Record<string, unknown> {
  const now = new Date();
  const context = taskContext.getStore();
  return {
    asctime: now.toISOString().replace("T", " ").replace(".", ",").replace("Z", ""),
    levelname: level,
    message,
    job_id: identity.jobId,
    worker_id: identity.workerId,
    node_id: identity.nodeId,
    ...(context === undefined
      ? {}
      : { task_id: context.taskId, task_name: context.taskName, task_func_name: context.taskName }),
    ...(context?.actorId == null ? {} : { actor_id: context.actorId }),
    ...(context?.actorName == null ? {} : { actor_name: context.actorName }),
    timestamp_ns: now.getTime() * 1_000_000,
    ...Object.fromEntries(attrs.map((name) => [name, attribute(name, level, now)])),
  };
}

/** Attributes of Python's log records that mean something here; null for the others. */
function attribute(name: string, level: string, now: Date): unknown {
  switch (name) {
    case "name":
      return "console";
    case "process":
      return process.pid;
    case "processName":
      return process.title;
    case "levelno":
      return (logLevels.indexOf(level as (typeof logLevels)[number]) + 1) * 10;
    case "created":
      return now.getTime() / 1000;
    case "msecs":
      return now.getMilliseconds();
    default:
      return null;
  }
}
