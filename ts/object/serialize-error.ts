// SPDX-License-Identifier: Apache-2.0
// Errors <-> the fields of the ERROR extension (docs/values.md), and the wrapping of what a task threw.
// Pure. Invariants: (1) code 0 is an error of the user's own, other codes are rows of proto/errors.json;
// (2) absent fields are left out; (3) reading never throws: a wrong field becomes text.

import {
  ActorDiedError,
  type DeadActor,
  type ErrorDetails,
  errorOfNumber,
  numberOf,
  PolyrayError,
  PythonError,
  TaskError,
  UnserializableError,
} from "../base/errors.ts";
import { errorPrototype } from "./error-classes.ts";
import { describeValue } from "./serialize-path.ts";

/** Where a task ran, for the error of its failure. */
export interface TaskWhere {
  readonly taskName: string;
  readonly taskId?: string | null;
  readonly actorId?: string | null;
  readonly nodeId?: string | null;
  readonly pid?: number | null;
}

const ownNames = new Set(["message", "stack", "name", "cause", "errors"]);

/** The fields of an error, in the order of the wire. */
export function errorRecord(error: Error): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  const put = (key: string, value: unknown) => {
    if (value !== null && value !== undefined) fields.set(key, value);
  };
  if (error instanceof PythonError) putPython(error, put);
  else if (error instanceof PolyrayError) putPolyray(error, put);
  else putUser(error, put);
  if (Object.hasOwn(error, "cause")) put("cause", error.cause);
  const errors = (error as { errors?: unknown }).errors;
  if (Array.isArray(errors)) put("errors", errors);
  return fields;
}

type Put = (key: string, value: unknown) => void;

function putUser(error: Error, put: Put): void {
  const className = error.constructor?.name;
  put("code", 0);
  put("cls", typeof className === "string" && className !== "" ? className : "Error");
  put("msg", String(error.message));
  put("lang", "ts");
  if (error.name !== className) put("name", String(error.name));
  put("stack", error.stack === undefined ? null : String(error.stack));
  const props = Object.entries(error).filter(([key]) => !ownNames.has(key));
  if (props.length > 0) put("props", Object.fromEntries(props));
}

function putPython(error: PythonError, put: Put): void {
  put("code", 0);
  put("cls", error.className);
  put("msg", error.message);
  put("lang", "py");
  put("mod", error.moduleName);
  put("stack", error.traceback);
  put("orig", error.original);
}

function putPolyray(error: PolyrayError, put: Put): void {
  put("code", numberOf(error.code));
  put("cls", error.constructor.name);
  put("msg", error.message);
  put("lang", "ts");
  put("stack", error.remoteStack ?? error.stack);
  put("task", error.taskName);
  put("taskId", error.taskId);
  put("actorId", error.actorId);
  put("nodeId", error.nodeId);
  put("pid", error.pid);
  if (error instanceof TaskError && error.chain.length > 0) put("chain", error.chain);
  if (error instanceof UnserializableError && error.path !== null)
    put("props", { path: error.path });
  if (error instanceof ActorDiedError && error.actor !== null) put("props", { ...error.actor });
}

const globalErrors: ReadonlyMap<string, new (message: string) => Error> = new Map<
  string,
  new (
    message: string,
  ) => Error
>(
  Object.entries({
    Error,
    TypeError,
    RangeError,
    SyntaxError,
    ReferenceError,
    EvalError,
    URIError,
    DOMException,
  }),
);

function text(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}

/** The error of ERROR fields. */
export function errorOfRecord(fields: Readonly<Record<string, unknown>>): Error {
  const code = typeof fields.code === "number" ? fields.code : 0;
  if (code !== 0) return polyrayOf(code, fields);
  return fields.lang === "py" ? pythonOf(fields) : userOf(fields);
}

function detailsOf(fields: Readonly<Record<string, unknown>>): ErrorDetails & { chain: string[] } {
  return {
    taskName: text(fields.task),
    taskId: text(fields.taskId),
    actorId: text(fields.actorId),
    nodeId: text(fields.nodeId),
    pid: typeof fields.pid === "number" ? fields.pid : null,
    remoteStack: text(fields.stack),
    chain: Array.isArray(fields.chain) ? fields.chain.map(String) : [],
    ...("cause" in fields ? { cause: fields.cause } : {}),
    ...(isDeadActor(fields.props) ? { actor: fields.props } : {}),
  };
}

function isDeadActor(props: unknown): props is DeadActor {
  return typeof props === "object" && props !== null && "className" in props && "reason" in props;
}

function polyrayOf(code: number, fields: Readonly<Record<string, unknown>>): Error {
  const error = errorOfNumber(code, text(fields.msg) ?? "", detailsOf(fields));
  if (
    error instanceof UnserializableError &&
    typeof fields.props === "object" &&
    fields.props !== null
  ) {
    Object.defineProperty(error, "path", {
      value: text((fields.props as { path?: unknown }).path),
      enumerable: true,
    });
  }
  return error;
}

function pythonOf(fields: Readonly<Record<string, unknown>>): PythonError {
  const traceback = text(fields.stack) ?? "";
  return new PythonError(text(fields.msg) ?? "", {
    className: text(fields.cls) ?? "Exception",
    moduleName: text(fields.mod) ?? "builtins",
    traceback,
    remoteStack: traceback,
    original: fields.orig ?? null,
    ...("cause" in fields ? { cause: fields.cause } : {}),
  });
}

function userOf(fields: Readonly<Record<string, unknown>>): Error {
  const className = text(fields.cls) ?? "Error";
  const name = text(fields.name);
  const message = text(fields.msg) ?? "";
  const error =
    className === "AggregateError"
      ? new AggregateError([], message)
      : newError(className, message, name);
  const prototype = errorPrototype(className);
  if (prototype !== null) Object.setPrototypeOf(error, prototype);
  hide(error, "stack", text(fields.stack) ?? "");
  if (error.name !== (name ?? className)) hide(error, "name", name ?? className);
  if ("cause" in fields) hide(error, "cause", fields.cause);
  if (Array.isArray(fields.errors)) hide(error, "errors", fields.errors);
  const props = fields.props;
  if (typeof props === "object" && props !== null) {
    for (const [key, value] of Object.entries(props)) {
      if (ownNames.has(key)) continue;
      Object.defineProperty(error, key, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  }
  return error;
}

function newError(className: string, message: string, name: string | null): Error {
  if (className === "DOMException") return new DOMException(message, name ?? "Error");
  return new (globalErrors.get(className) ?? Error)(message);
}

function hide(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, {
    value,
    enumerable: false,
    configurable: true,
    writable: true,
  });
}

/** What a task threw, as the TaskError that the caller gets. A TaskError of a nested task keeps its own cause. */
export function taskErrorOf(thrown: unknown, where: TaskWhere): TaskError {
  const nested = thrown instanceof TaskError ? thrown : null;
  const cause = nested === null ? thrown : nested.cause;
  const chain = [
    where.taskName,
    ...(nested === null ? [] : nested.chain.length > 0 ? nested.chain : [nested.taskName ?? "?"]),
  ];
  const stack = cause instanceof Error ? cause.stack : null;
  return new TaskError(`[task failed] ${chain.join(" > ")}: ${describeThrown(cause)}`, {
    cause: typeof cause === "function" || typeof cause === "symbol" ? String(cause) : cause,
    chain,
    taskName: where.taskName,
    taskId: where.taskId ?? null,
    actorId: where.actorId ?? null,
    nodeId: where.nodeId ?? null,
    pid: where.pid ?? null,
    remoteStack:
      nested?.remoteStack ?? (cause instanceof PythonError ? cause.traceback : (stack ?? null)),
  });
}

function describeThrown(cause: unknown): string {
  if (cause instanceof PythonError) return `${cause.className}: ${cause.message}`;
  if (cause instanceof Error) return `${cause.name}: ${cause.message}`;
  if (typeof cause === "string")
    return `threw the string ${JSON.stringify(cause)}, which is not an Error`;
  return `threw ${describeValue(cause)}, which is not an Error`;
}
