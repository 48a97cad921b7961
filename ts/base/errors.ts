// SPDX-License-Identifier: Apache-2.0
// The error classes that a program can catch, one per class name in proto/errors.json, all under PolyrayError.
// `code` is the row's name; `numberOf` gives the number that goes on the wire. No I/O, no state besides the class map.
// Invariants: (1) each className of the table has a class here (tested); (2) absent details are null, never undefined;
// (3) the message has the form `[tag] why. What to do.` when made by `makeError`.

import { type ErrorCode, type ErrorRow, errorRows } from "./error-codes.ts";

/** What is known about where and why a failure happened. */
export interface ErrorDetails {
  code?: ErrorCode;
  taskId?: string | null;
  taskName?: string | null;
  actorId?: string | null;
  nodeId?: string | null;
  pid?: number | null;
  remoteStack?: string | null;
  cause?: unknown;
  /** Of a dead actor. */
  actor?: DeadActor | null;
}

/** What is told of an actor that is dead, besides its id and process. */
export interface DeadActor {
  readonly className: string;
  readonly name: string | null;
  readonly namespace: string;
  /** Why it is dead, as the control service knows it. */
  readonly reason: string;
}

const rowsByName = new Map<string, ErrorRow>(errorRows.map((row) => [row.name, row]));
const rowsByNumber = new Map<number, ErrorRow>(errorRows.map((row) => [row.code, row]));

/** The row of a code. */
export function errorRow(code: ErrorCode): ErrorRow {
  const row = rowsByName.get(code);
  if (row === undefined) throw new TypeError(`no error code ${code}`);
  return row;
}

/** The row of a wire number, or null. */
export function errorRowOfNumber(code: number): ErrorRow | null {
  return rowsByNumber.get(code) ?? null;
}

/** The wire number of a code. */
export function numberOf(code: ErrorCode): number {
  return errorRow(code).code;
}

/** Base of all errors of polyray. */
export class PolyrayError extends Error {
  readonly code: ErrorCode;
  readonly taskId: string | null;
  readonly taskName: string | null;
  readonly actorId: string | null;
  readonly nodeId: string | null;
  readonly pid: number | null;
  /** Stack of the other process, as text. */
  readonly remoteStack: string | null;

  constructor(message: string, details: ErrorDetails = {}, defaultCode: ErrorCode = "SYSTEM") {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = details.code ?? defaultCode;
    this.taskId = details.taskId ?? null;
    this.taskName = details.taskName ?? null;
    this.actorId = details.actorId ?? null;
    this.nodeId = details.nodeId ?? null;
    this.pid = details.pid ?? null;
    this.remoteStack = details.remoteStack ?? null;
    Object.defineProperty(this, "name", {
      value: errorRow(this.code).tsName,
      configurable: true,
      writable: true,
      enumerable: false,
    });
  }

  /** True when the same operation may succeed later. */
  get retryable(): boolean {
    return errorRow(this.code).retryable;
  }
}

/** The user's function failed; `cause` is its own error, re-created. */
export class TaskError extends PolyrayError {
  /** Names of the tasks the failure went through, outermost first. */
  readonly chain: readonly string[];
  constructor(message: string, details: ErrorDetails & { chain?: readonly string[] } = {}) {
    super(message, details, "TASK_FAILED");
    this.chain = details.chain ?? [];
  }
}

/** An error that was raised in Python. */
export class PythonError extends PolyrayError {
  /** Class name, such as `ValueError`. */
  readonly className: string;
  /** The traceback text of Python. */
  readonly traceback: string;
  /** Module of the class, such as `builtins`. */
  readonly moduleName: string;
  /** The exception itself, opaque here; Python gets it back as it was. Null when it could not travel. */
  readonly original: unknown;
  constructor(
    message: string,
    details: ErrorDetails & {
      className?: string;
      traceback?: string;
      moduleName?: string;
      original?: unknown;
    } = {},
  ) {
    super(message, details, "FOREIGN_ERROR");
    this.original = details.original ?? null;
    this.className = details.className ?? "Exception";
    this.traceback = details.traceback ?? "";
    this.moduleName = details.moduleName ?? "builtins";
  }
}

/** The task was cancelled. Its `name` is `AbortError`. */
export class TaskCancelledError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "TASK_CANCELLED");
  }
}

/** The task ran past its `timeoutMs`. */
export class TaskTimeoutError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "TASK_TIMEOUT");
  }
}

/** `get` or `wait` ran out of time. Its `name` is `TimeoutError`. */
export class GetTimeoutError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "GET_TIMEOUT");
  }
}

/** The worker process ended while it ran the task. */
export class WorkerCrashedError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "WORKER_CRASHED");
  }
}

/** An actor cannot answer: base of the two actor errors. */
export class ActorError extends PolyrayError {}

/** The actor is dead for good. */
export class ActorDiedError extends ActorError {
  /** Which actor it was; null when the caller knows no more than its id. */
  readonly actor: DeadActor | null;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_DIED");
    this.actor = details.actor ?? null;
  }
}

/** The actor cannot be reached now. */
export class ActorUnavailableError extends ActorError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_UNAVAILABLE");
  }
}

/** The node that ran the work is gone. */
export class NodeDiedError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "NODE_DIED");
  }
}

/** The node service of this machine ended. */
export class LocalRayletDiedError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "LOCAL_RAYLET_DIED");
  }
}

/** The environment of a worker could not be set up. */
export class RuntimeEnvSetupError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "RUNTIME_ENV_SETUP");
  }
}

/** The worker was ended because memory ran out. */
export class OutOfMemoryError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OUT_OF_MEMORY");
  }
}

/** A retried generator gave other items than before. */
export class StreamReplayError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "STREAM_REPLAY");
  }
}

/** A stream of refs has no more items. */
export class StreamEndError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "STREAM_END");
  }
}

/** The bytes of an object are gone: base of the errors about lost data. */
export class ObjectLostError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}, defaultCode: ErrorCode = "OBJECT_LOST") {
    super(message, details, defaultCode);
  }
}

/** The owner of the ref ended. */
export class OwnerDiedError extends ObjectLostError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OWNER_DIED");
  }
}

/** The object was freed or its ref released. */
export class ObjectFreedError extends ObjectLostError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OBJECT_FREED");
  }
}

/** The object could not be copied from its node in time. */
export class ObjectFetchTimedOutError extends ObjectLostError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OBJECT_FETCH_TIMED_OUT");
  }
}

/** A lost object could not be rebuilt. */
export class ObjectReconstructionFailedError extends ObjectLostError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "RECONSTRUCTION_FAILED");
  }
}

/** An object was deleted although a ref was alive. */
export class ReferenceCountingAssertionError extends ObjectLostError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "REFERENCE_COUNT");
  }
}

/** The object store has no room. */
export class ObjectStoreFullError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OBJECT_STORE_FULL");
  }
}

/** No disk space for spilled objects. */
export class OutOfDiskError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "OUT_OF_DISK");
  }
}

/** The bytes of a value break the envelope format. */
export class CorruptValueError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "VALUE_CORRUPT");
  }
}

/** A table of the runtime is full. */
export class LimitError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "TABLE_FULL");
  }
}

/** No node can ever run the work: base of the two errors for tasks and actors. */
export class UnschedulableError extends PolyrayError {
  constructor(
    message: string,
    details: ErrorDetails = {},
    defaultCode: ErrorCode = "TASK_UNSCHEDULABLE",
  ) {
    super(message, details, defaultCode);
  }
}

/** No node can ever run the task. */
export class TaskUnschedulableError extends UnschedulableError {}

/** No node can ever hold the actor. */
export class ActorUnschedulableError extends UnschedulableError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_UNSCHEDULABLE");
  }
}

/** The placement group of the work was removed: base of the two errors for tasks and actors. */
export class PlacementGroupRemovedError extends PolyrayError {
  constructor(
    message: string,
    details: ErrorDetails = {},
    defaultCode: ErrorCode = "TASK_PLACEMENT_GROUP_REMOVED",
  ) {
    super(message, details, defaultCode);
  }
}

/** The placement group of the task was removed. */
export class TaskPlacementGroupRemoved extends PlacementGroupRemovedError {}

/** The placement group of the actor was removed. */
export class ActorPlacementGroupRemoved extends PlacementGroupRemovedError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_PLACEMENT_GROUP_REMOVED");
  }
}

/** The actor has more calls waiting than `maxPendingCalls`. */
export class PendingCallsLimitExceeded extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "PENDING_CALLS_LIMIT");
  }
}

/** The runtime or the operating system refused an operation. */
export class SystemError extends PolyrayError {}

/** A call between processes of the runtime failed. */
export class RpcError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "RPC");
  }
}

/** A channel was closed or broke. */
export class ChannelError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "CHANNEL");
  }
}

/** The two sides run versions that cannot work together. */
export class VersionMismatchError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "VERSION_MISMATCH");
  }
}

/** The token is missing or wrong. */
export class AuthenticationError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "AUTHENTICATION");
  }
}

/** No runtime runs in this process. */
export class NotInitializedError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "NOT_INITIALIZED");
  }
}

/** An option or argument has a value that is not allowed. */
export class InvalidOptionError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "INVALID_OPTION");
  }
}

/** A value cannot be sent; the message names its path or variable. */
export class UnserializableError extends PolyrayError {
  /** Where in the value, such as `args[0].conn.socket`; null when it is not known. */
  readonly path: string | null;
  constructor(message: string, details: ErrorDetails & { path?: string | null } = {}) {
    super(message, details, "UNSERIALIZABLE");
    this.path = details.path ?? null;
  }
}

/** An actor of that name lives already. */
export class ActorAlreadyExistsError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_ALREADY_EXISTS");
  }
}

/** No actor of that name or id is known. */
export class ActorHandleNotFoundError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "ACTOR_NOT_FOUND");
  }
}

/** A handle was used after it was closed. */
export class ClosedError extends PolyrayError {
  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details, "CLOSED");
  }
}

/** A class of the table: message and details make an instance. */
export type PolyrayErrorClass = new (message: string, details?: ErrorDetails) => PolyrayError;

/** Every class by the name that proto/errors.json gives it. */
export const errorClasses: ReadonlyMap<string, PolyrayErrorClass> = new Map<
  string,
  PolyrayErrorClass
>(
  Object.entries({
    TaskError,
    PythonError,
    TaskCancelledError,
    TaskTimeoutError,
    GetTimeoutError,
    WorkerCrashedError,
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    LocalRayletDiedError,
    RuntimeEnvSetupError,
    OutOfMemoryError,
    StreamReplayError,
    StreamEndError,
    ObjectLostError,
    OwnerDiedError,
    ObjectFreedError,
    ObjectFetchTimedOutError,
    ObjectReconstructionFailedError,
    ReferenceCountingAssertionError,
    ObjectStoreFullError,
    OutOfDiskError,
    CorruptValueError,
    LimitError,
    UnschedulableError,
    TaskUnschedulableError,
    ActorUnschedulableError,
    PlacementGroupRemovedError,
    TaskPlacementGroupRemoved,
    ActorPlacementGroupRemoved,
    PendingCallsLimitExceeded,
    SystemError,
    RpcError,
    ChannelError,
    VersionMismatchError,
    AuthenticationError,
    NotInitializedError,
    InvalidOptionError,
    UnserializableError,
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
    ClosedError,
  }),
);

/** Makes the error of a code, with the message as it is. */
export function errorOfCode(
  code: ErrorCode,
  message: string,
  details: ErrorDetails = {},
): PolyrayError {
  const Class = errorClasses.get(errorRow(code).className) ?? PolyrayError;
  return new Class(message, { ...details, code });
}

/** Makes the error of a code from a reason: `[tag] why. What to do.` */
export function makeError(code: ErrorCode, why: string, details: ErrorDetails = {}): PolyrayError {
  const row = errorRow(code);
  const text = /[.!?]$/.test(why) ? why : `${why}.`;
  const fix = row.fix === "" ? "" : ` ${row.fix}`;
  return errorOfCode(code, `[${row.tag}] ${text}${fix}`, details);
}

/** Makes the error of a native status number; unknown numbers become SystemError. */
export function errorOfNumber(
  code: number,
  message: string,
  details: ErrorDetails = {},
): PolyrayError {
  const row = errorRowOfNumber(code);
  if (row === null)
    return new SystemError(`[system] unknown error code ${code}: ${message}`, details);
  return errorOfCode(row.name, message, details);
}
