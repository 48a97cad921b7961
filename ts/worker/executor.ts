// SPDX-License-Identifier: Apache-2.0
// Runs what comes: tasks one at a time, the methods of this process's actor in order (maxConcurrency at a time).
//
// A call whose function is loaded, whose arguments hold no functions and which returns no promise runs inside the event
// that brought it: no promise is made on that path. Owns: the queue, the actor's instance, abort controllers of running calls.
// Invariants: (1) every call is replied to once; (2) at most `limit` calls run; (3) a call starts only after those that came
// before it have started.

import { makeError, PolyrayError } from "../base/errors.ts";
import type { Connection, Executor } from "../core/connection.ts";
import { decodeMaybeFunctions } from "../core/function-values.ts";
import { ActorExit, type TaskContext, taskContext } from "../core/task-context.ts";
import {
  CallFlag,
  CallKind,
  CallRec,
  CancelFlag,
  EventKind,
  Rec,
  ReplyStatus,
} from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";
import { type CallArgs, decodeArgs, encodeError, encodeTaskError } from "../object/serialize.ts";
import { knownSpec, type LoadedSpec, loadSpec } from "./load-spec.ts";
import { showName } from "./output.ts";
import { runStream, type StreamState } from "./stream.ts";

/** One call, taken out of its event record. */
export interface Call {
  readonly number: number;
  readonly kind: number;
  readonly flags: number;
  readonly spec: number;
  readonly taskId: string;
  readonly actorId: string;
  readonly incarnation: number;
  readonly attempt: number;
  readonly retriesLeft: number;
  readonly returnCount: number;
  readonly method: string;
  readonly payload: Uint8Array;
}

interface Actor {
  readonly id: string;
  readonly name: string | null;
  readonly className: string;
  readonly instance: Record<string, unknown>;
  readonly incarnation: number;
}

interface Running {
  readonly call: Call;
  readonly context: TaskContext;
  stream: StreamState | null;
  timer: NodeJS.Timeout | null;
}

/** How long a body may go on after its time limit before its process is ended. */
const timeoutGraceMs = 1000;

export class TaskExecutor implements Executor {
  readonly #connection: Connection;
  readonly #queue: Call[] = [];
  readonly #running = new Map<number, Running>();
  #limit = 1;
  #actor: Actor | null = null;
  #actorSpec: LoadedSpec | null = null;
  #blocked = 0;
  #recycle = false;
  #exiting = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get isActor(): boolean {
    return this.#actor !== null;
  }

  /** Name of what runs now, for messages. */
  currentName(): string {
    for (const { context } of this.#running.values()) return context.taskName;
    return this.#actor?.className ?? "worker";
  }

  /** After the current task this worker takes no more. */
  recycleSoon(): void {
    this.#recycle = true;
    this.#next();
  }

  /** A get inside a task waits (+1) or goes on (-1): the task's resources go back meanwhile. */
  blocked(change: 1 | -1): void {
    if (this.#actor !== null) return;
    const before = this.#blocked;
    this.#blocked += change;
    if (before === 0 || this.#blocked === 0) {
      this.#connection.native.setBlocked(this.#blocked > 0);
      this.#connection.store.flushSoon();
    }
  }

  onEvent(reader: EventReader): void {
    switch (reader.kind) {
      case EventKind.call:
        this.#take(reader);
        break;
      case EventKind.cancel:
        this.#cancel(reader.word(Rec.b0), (reader.word(Rec.a) & CancelFlag.force) !== 0);
        break;
      case EventKind.streamCredit:
        this.#running.get(reader.word(Rec.b0))?.stream?.credit(reader.word(Rec.a));
        break;
      default:
        break;
    }
  }

  #take(reader: EventReader): void {
    const call: Call = {
      number: reader.word(Rec.a),
      kind: reader.word(CallRec.kind),
      flags: reader.word(CallRec.flags),
      spec: reader.word(CallRec.spec),
      taskId: reader.id(),
      actorId: reader.actorId(),
      incarnation: reader.word(CallRec.incarnation),
      attempt: reader.word(CallRec.attempt),
      retriesLeft: reader.word(CallRec.retriesLeft) | 0,
      returnCount: reader.word(CallRec.returnCount),
      method: reader.method(),
      payload: reader.payload(),
    };
    this.#queue.push(call);
    this.#next();
  }

  #next(): void {
    while (this.#queue.length > 0 && this.#running.size < this.#limit && !this.#exiting) {
      this.#start(this.#queue.shift() as Call);
    }
    if (this.#recycle && this.#actor === null && this.#running.size === 0 && !this.#exiting)
      this.#leave();
  }

  #start(call: Call): void {
    // Calls of actor methods carry no spec: they use that of the class.
    const spec = call.kind === CallKind.actorCall ? this.#actorSpec : knownSpec(call.spec);
    if (spec !== null && spec !== undefined) {
      this.#run(call, spec);
      return;
    }
    const context = this.#contextOf(call, null);
    this.#running.set(call.number, { call, context, stream: null, timer: null });
    loadSpec(this.#connection.store, call.spec).then(
      (found) => this.#run(call, found),
      // Not the function's own error: it never ran.
      (error: unknown) =>
        this.#settleError(
          call,
          error instanceof PolyrayError ? error : null,
          error,
          context.taskName,
        ),
    );
  }

  #contextOf(
    call: Call,
    spec: LoadedSpec | null,
    abort: TaskContext["abort"] = { controller: null },
  ): TaskContext {
    const actor = this.#actor;
    const taskName =
      actor !== null ? `${actor.className}.${call.method}` : (spec?.fields.name ?? "task");
    return {
      taskId: call.taskId,
      taskName,
      actorId: call.kind === CallKind.task ? null : call.actorId,
      actorName:
        actor?.name ??
        (call.kind === CallKind.actorCreate ? (spec?.fields.actorName ?? null) : null),
      attempt: call.attempt,
      actorRestarted: call.incarnation > 0,
      abort,
    };
  }

  #run(call: Call, spec: LoadedSpec): void {
    // A cancel that came while the function was loaded holds.
    const abort = this.#running.get(call.number)?.context.abort ?? { controller: null };
    const context = this.#contextOf(call, spec, abort);
    const timer =
      spec.fields.timeoutMs > 0
        ? setTimeout(() => this.#timeUp(call, context), spec.fields.timeoutMs)
        : null;
    this.#running.set(call.number, { call, context, stream: null, timer });
    showName(
      call.kind === CallKind.task ? spec.fields.name : (this.#actor?.className ?? spec.fields.name),
    );
    try {
      const args = decodeMaybeFunctions(() => this.#arguments(call));
      if (args instanceof Promise) {
        args.then(
          (ready) => this.#invoke(call, spec, context, ready),
          (error: unknown) => this.#fail(call, error, context.taskName, spec),
        );
      } else this.#invoke(call, spec, context, args);
    } catch (error) {
      this.#fail(call, error, context.taskName, spec);
    }
  }

  #arguments(call: Call): CallArgs {
    const { store } = this.#connection;
    return decodeArgs(call.payload, {
      ...store.context,
      argValue: (id) => {
        const ref = store.importRef(id);
        try {
          const peeked = store.peek(ref);
          if (peeked === undefined)
            throw makeError("BROKEN_INVARIANT", `argument ${id} is not sealed`);
          return peeked.value;
        } finally {
          ref[Symbol.dispose]();
        }
      },
    });
  }

  #invoke(call: Call, spec: LoadedSpec, context: TaskContext, args: CallArgs): void {
    try {
      context.abort.controller?.signal.throwIfAborted();
      if (args.kwargs !== null)
        throw makeError(
          "INVALID_ARGUMENT",
          `${context.taskName} is TypeScript: it takes no keyword arguments`,
        );
      const result = taskContext.run(context, () => this.#body(call, spec, args.args));
      if ((call.flags & CallFlag.streaming) !== 0) this.#stream(call, spec, context, result);
      else if (isThenable(result)) {
        result.then(
          (value) => this.#succeed(call, spec, context, value),
          (error: unknown) => this.#fail(call, error, context.taskName, spec),
        );
      } else this.#succeed(call, spec, context, result);
    } catch (error) {
      this.#fail(call, error, context.taskName, spec);
    }
  }

  #body(call: Call, spec: LoadedSpec, args: unknown[]): unknown {
    if (call.kind === CallKind.task) return spec.fn(...args);
    if (call.kind === CallKind.actorCreate) return this.#construct(call, spec, args);
    const actor = this.#actor;
    if (actor === null)
      throw makeError("BROKEN_INVARIANT", "an actor call came to a worker without an actor");
    const method = actor.instance[call.method];
    if (typeof method !== "function" || call.method === "constructor") {
      throw makeError("INVALID_ARGUMENT", `${actor.className} has no method "${call.method}"`, {
        actorId: actor.id,
      });
    }
    return (method as (...args: unknown[]) => unknown).apply(actor.instance, args);
  }

  #construct(call: Call, spec: LoadedSpec, args: unknown[]): unknown {
    const native = this.#connection.native;
    const Class = spec.fn as unknown as new (...args: unknown[]) => Record<string, unknown>;
    const instance = new Class(...args);
    this.#actor = {
      id: call.actorId,
      name: spec.fields.actorName,
      className: spec.fields.name,
      instance,
      incarnation: call.incarnation,
    };
    this.#actorSpec = spec;
    this.#limit = Math.max(1, spec.fields.maxConcurrency);
    const handle = native.handleOfId(call.actorId);
    if (handle !== 0) {
      native.setActorIdentity(handle, call.incarnation);
      native.releaseHandle(handle);
    }
    return null;
  }

  #stream(call: Call, spec: LoadedSpec, context: TaskContext, result: unknown): void {
    const { promise, state } = runStream(
      this.#connection,
      call,
      result,
      spec.fields.streamHighWaterMark,
      context,
    );
    const running = this.#running.get(call.number);
    if (running !== undefined) running.stream = state;
    promise.then(
      () => this.#succeed(call, spec, context, null),
      (error: unknown) => this.#fail(call, error, context.taskName, spec),
    );
  }

  #succeed(call: Call, spec: LoadedSpec, context: TaskContext, value: unknown): void {
    const { store, native } = this.#connection;
    if (this.#running.get(call.number)?.call !== call) return; // it ran out of time and was answered
    if (timedOut(context) !== null) {
      this.#fail(call, timedOut(context), context.taskName, spec);
      return;
    }
    if (context.abort.controller?.signal.aborted === true && value === undefined) {
      this.#fail(call, context.abort.controller.signal.reason, context.taskName, spec);
      return;
    }
    try {
      if (call.returnCount === 1)
        store.replyWith(call.number, store.encode(value, "the result"), ReplyStatus.ok);
      else {
        const values = tupleOf(value, call.returnCount, context.taskName);
        const encoded = values.map((one, index) => ({ one, index }));
        for (const { one, index } of encoded)
          store.sealReturn(call.number, index, store.encode(one, `result[${index}]`), false);
        native.reply(call.number, ReplyStatus.ok);
      }
    } catch (error) {
      this.#fail(call, error, context.taskName, spec);
      return;
    }
    this.#done(call);
  }

  #fail(call: Call, thrown: unknown, name: string, spec?: LoadedSpec): void {
    const running = this.#running.get(call.number);
    if (running !== undefined && running.call !== call) return;
    if (thrown instanceof ActorExit) {
      void this.#exitActor(call);
      return;
    }
    const context = running?.context ?? null;
    const late = context === null ? null : timedOut(context);
    const aborted = context?.abort.controller?.signal.aborted === true;
    if (!aborted && spec !== undefined && mayRetry(spec, call, thrown)) {
      this.#connection.native.reply(call.number, ReplyStatus.retry);
      this.#done(call);
      return;
    }
    const cancelled =
      aborted && late === null && (thrown as Error | undefined)?.name === "AbortError";
    const own = cancelled
      ? makeError("TASK_CANCELLED", `${name} was cancelled while it ran`, this.#where(call, name))
      : late;
    this.#settleError(call, own, thrown, name);
  }

  #where(call: Call, taskName: string) {
    return {
      taskName,
      taskId: call.taskId,
      actorId: call.kind === CallKind.task ? null : call.actorId,
      nodeId: this.#connection.place.nodeId,
      pid: process.pid,
    };
  }

  /** Answers with an error of polyray's own, or with what the function threw. */
  #settleError(call: Call, own: PolyrayError | null, thrown: unknown, name: string): void {
    const { store, native } = this.#connection;
    const encoded =
      own !== null
        ? encodeError(own, store.context)
        : encodeTaskError(thrown, this.#where(call, name), store.context);
    const status = own?.code === "TASK_CANCELLED" ? ReplyStatus.cancelled : ReplyStatus.error;
    if (call.returnCount === 1) store.replyWith(call.number, encoded, status);
    else {
      for (let index = 0; index < call.returnCount; index++)
        store.sealReturn(call.number, index, encoded, true);
      native.reply(call.number, status);
    }
    this.#done(call);
    if (call.kind === CallKind.actorCreate) setTimeout(() => process.exit(1), 200).unref();
  }

  /** The time limit is over: the body's signal fires; a body that does not end soon loses its process. */
  #timeUp(call: Call, context: TaskContext): void {
    const error = makeError(
      "TASK_TIMEOUT",
      `${context.taskName} ran past its time limit`,
      this.#where(call, context.taskName),
    );
    context.abort.controller ??= new AbortController();
    const { controller } = context.abort;
    taskContext.run(context, () => controller.abort(error));
    const running = this.#running.get(call.number);
    running?.stream?.stop();
    setTimeout(() => {
      if (this.#running.get(call.number)?.call !== call) return;
      this.#settleError(call, error, error, context.taskName);
      if (this.#actor === null) this.#leave();
    }, timeoutGraceMs).unref();
  }

  #done(call: Call): void {
    const timer = this.#running.get(call.number)?.timer;
    if (timer != null) clearTimeout(timer);
    this.#running.delete(call.number);
    this.#connection.store.flushSoon();
    if (this.#queue.length > 0 || this.#recycle) this.#next();
  }

  #cancel(number: number, force: boolean): void {
    const running = this.#running.get(number);
    const queued = this.#queue.findIndex((call) => call.number === number);
    if (queued >= 0) {
      const [call] = this.#queue.splice(queued, 1);
      const error = makeError("TASK_CANCELLED", "cancelled before it ran", {
        taskId: call?.taskId ?? null,
      });
      if (call !== undefined) this.#settleError(call, error, error, call.method);
      return;
    }
    if (running === undefined) return;
    if (force && this.#actor === null) process.exit(1);
    running.context.abort.controller ??= new AbortController();
    const { controller } = running.context.abort;
    const reason = makeError("TASK_CANCELLED", `${running.context.taskName} was cancelled`, {
      taskId: running.call.taskId,
    });
    // Listeners see the context of the call that they belong to.
    taskContext.run(running.context, () => controller.abort(reason));
    running.stream?.stop();
  }

  async #exitActor(call: Call): Promise<void> {
    const { store } = this.#connection;
    this.#exiting = true;
    store.replyWith(call.number, store.encode(null), ReplyStatus.ok);
    this.#running.delete(call.number);
    if (this.#actor !== null) {
      const id = Buffer.from(this.#actor.id, "hex");
      await this.#connection.request("actor.exit", { actor: id }).catch(() => undefined);
    }
    this.#leave();
  }

  #leave(): void {
    this.#exiting = true;
    this.#connection.native.workerExit();
    this.#connection.native.flush();
    setImmediate(() => process.exit(0));
  }
}

/** The error of a call that ran past its time limit. */
function timedOut(context: TaskContext): PolyrayError | null {
  const reason: unknown =
    context.abort.controller?.signal.aborted === true
      ? context.abort.controller.signal.reason
      : null;
  return reason instanceof PolyrayError && reason.code === "TASK_TIMEOUT" ? reason : null;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}

function tupleOf(value: unknown, count: number, name: string): unknown[] {
  if (Array.isArray(value) && value.length === count) return value;
  const got = Array.isArray(value) ? `an array of ${value.length}` : typeof value;
  throw makeError(
    "INVALID_ARGUMENT",
    `${name} has numReturns ${count}, so it must return an array of ${count} values, not ${got}`,
  );
}

function mayRetry(spec: LoadedSpec, call: Call, thrown: unknown): boolean {
  const { retryExceptions, retryExceptionList } = spec.fields;
  if (!retryExceptions || call.retriesLeft === 0 || thrown instanceof ActorExit) return false;
  if (thrown instanceof PolyrayError && thrown.code === "TASK_CANCELLED") return false;
  if (retryExceptionList === null) return true;
  const names = JSON.parse(Buffer.from(retryExceptionList).toString("utf8")) as string[];
  for (
    let proto: unknown = thrown;
    proto !== null && typeof proto === "object";
    proto = Object.getPrototypeOf(proto)
  ) {
    if (names.includes((proto as { constructor?: { name?: string } }).constructor?.name ?? ""))
      return true;
  }
  return false;
}
