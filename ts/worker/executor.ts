// SPDX-License-Identifier: Apache-2.0
// Runs what comes: tasks one at a time, the methods of this process's actor in order (maxConcurrency at a time).
//
// A call whose function is loaded, whose arguments hold no functions and which returns no promise runs inside the event
// that brought it: no promise is made on that path. Owns: the queue, the actor's instance, abort controllers of running calls.
// Invariants: (1) every call is replied to once; (2) at most `limit` calls run; (3) a call starts only after those that came
// before it have started.

import { makeError, PolyrayError } from "../base/errors.ts";
import { enterAmounts } from "../core/accelerators.ts";
import { readyMethod } from "../core/actor-handle.ts";
import { cancelHandle } from "../core/call.ts";
import type { Connection, Executor } from "../core/connection.ts";
import { decodeMaybeFunctions } from "../core/function-values.ts";
import { executing } from "../core/interceptors.ts";
import { pauseMs } from "../core/retry.ts";
import { ActorExit, type TaskContext, taskContext } from "../core/task-context.ts";
import type { Execution } from "../core/tracing.ts";
import { CallFlag, CallKind, CancelFlag, EventKind, Rec, ReplyStatus } from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";
import { type CallArgs, type DecodeContext, decodeArgs } from "../object/serialize.ts";
import type { ObjectStore } from "../object/store.ts";
import { Call } from "./call.ts";
import { CallContext } from "./call-context.ts";
import { Children } from "./children.ts";
import { type Actor, actorOf, endInstance, newInstance } from "./instance.ts";
import { knownSpec, type LoadedSpec, loadSpec } from "./load-spec.ts";
import { cancelledError, placeOf, reasonOf, replyError, replyValue, timedOut } from "./outcome.ts";
import { showName } from "./output.ts";
import { type Pool, Pools } from "./pools.ts";
import { retryDecision, retryPlan } from "./retries.ts";
import { runStream } from "./stream.ts";
import { lastWords, openSpan } from "./tracing.ts";

/** How long a body may go on after its time limit before its process is ended. */
const timeoutGraceMs = 300;
/** How long a cancelled body that never asked for its signal may go on; longer when it waits for calls of its own. */
const cancelGraceMs = 50;
const blockedGraceMs = 1000;
/** ... and a generator for its clean-up. */
const streamGraceMs = 5000;
/** Built-in method that ends an actor, as in Ray. */
const terminateMethod = "__ray_terminate__";

export class TaskExecutor implements Executor {
  readonly #connection: Connection;
  readonly #pools = new Pools();
  readonly #running: Call[] = [];
  readonly #children: Children;
  readonly #exit: (code: number) => void;
  readonly #callsDone = new Map<LoadedSpec, number>();
  readonly #argumentContext: DecodeContext;
  #actor: Actor | null = null;
  #actorSpec: LoadedSpec | null = null;
  #blocked = 0;
  /** Which task runs: waits of an earlier one count no more. */
  #epoch = 0;
  #recycle = false;
  #exiting = false;
  #disposed = false;

  /** `exit` ends the process; the inline mode has none to end. */
  constructor(connection: Connection, exit: (code: number) => void = (code) => process.exit(code)) {
    this.#connection = connection;
    this.#exit = exit;
    this.#children = new Children(connection.native);
    const { store } = connection;
    this.#argumentContext = { ...store.context, argValue: (id) => argumentOf(store, id) };
    store.keepsHandle = (handle) => this.#children.keeps(handle);
  }

  get isActor(): boolean {
    return this.#actor !== null;
  }

  /** Name of what runs now, for messages. */
  currentName(): string {
    return this.#running[0]?.context?.taskName ?? this.#actor?.className ?? "worker";
  }

  /** After the current task this worker takes no more. */
  recycleSoon(): void {
    this.#recycle = true;
    this.#next(this.#pools.main);
  }

  #runningCall(number: number): Call | undefined {
    return this.#running.find((call) => call.number === number);
  }

  /** The task waits: its resources go back meanwhile. A wait that outlives its task ends with it. */
  block(): () => void {
    if (this.#actor !== null) return () => undefined;
    const epoch = this.#epoch;
    this.#shiftBlocked(1);
    let over = false;
    return () => {
      if (over || epoch !== this.#epoch) return;
      over = true;
      this.#shiftBlocked(-1);
    };
  }

  #shiftBlocked(change: number): void {
    const before = this.#blocked;
    this.#blocked += change;
    if ((before === 0) === (this.#blocked === 0) || !this.#connection.isOpen) return;
    this.#connection.native.setBlocked(this.#blocked > 0);
    this.#connection.store.flushSoon();
  }

  /** A call was submitted: when a call of ours did it, it is its child. */
  submitted(handle: number): void {
    const parent = taskContext.getStore()?.children;
    if (parent !== undefined) this.#children.note(handle, parent);
  }

  onEvent(reader: EventReader): void {
    switch (reader.kind) {
      case EventKind.call:
        this.#take(reader);
        break;
      case EventKind.cancel:
        this.#cancel(reader.word(Rec.b0), reader.word(Rec.a), reader.payload());
        break;
      case EventKind.streamCredit:
        this.#runningCall(reader.word(Rec.b0))?.stream?.credit(reader.word(Rec.a));
        break;
      default:
        break;
    }
  }

  #take(reader: EventReader): void {
    const { arrivals } = this.#connection.store;
    const call = new Call(reader, arrivals, this.#actor?.id ?? null);
    const pool = this.#pools.of(call);
    if (pool === undefined) return this.#refuse(call);
    pool.queue.push(call);
    this.#next(pool);
  }

  #refuse(call: Call): void {
    const name = `${this.#actor?.className ?? "actor"}.${call.method}`;
    const has = this.#pools.names().join(", ") || "none";
    const error = makeError(
      "INVALID_OPTION",
      `${name} was called in the concurrency group "${call.extras?.group ?? ""}", which the actor does not have (it has: ${has})`,
      placeOf(this.#connection, call, name),
    );
    this.#settleError(call, error, error, name);
  }

  #next(pool: Pool): void {
    while (pool.queue.length > 0 && pool.running < pool.limit && !this.#exiting)
      this.#start(pool.queue.shift() as Call, pool);
    if (this.#recycle && this.#actor === null && this.#running.length === 0 && !this.#exiting)
      this.#leave();
  }

  #start(call: Call, pool: Pool): void {
    pool.running++;
    call.pool = pool;
    call.place = this.#running.push(call) - 1;
    // Calls of actor methods carry no spec: they use that of the class.
    const spec = call.kind === CallKind.actorCall ? this.#actorSpec : knownSpec(call.spec);
    if (spec !== null && spec !== undefined) {
      this.#run(call, spec);
      return;
    }
    const context = this.#contextOf(call, null);
    call.context = context;
    // Cancelled or out of time meanwhile, it may be answered already.
    loadSpec(this.#connection.store, call.spec).then(
      (found) => {
        if (call.isRunning) this.#run(call, found);
      },
      // Not the function's own error: it never ran.
      (error: unknown) => {
        const own = error instanceof PolyrayError ? error : null;
        if (call.isRunning) this.#settleError(call, own, error, context.taskName);
      },
    );
  }

  #contextOf(
    call: Call,
    spec: LoadedSpec | null,
    abort: TaskContext["abort"] = { controller: null },
  ): TaskContext {
    const scheduling = (spec ?? this.#actorSpec)?.fields.scheduling ?? null;
    return new CallContext(call, spec, this.#actor, scheduling, abort);
  }

  #run(call: Call, spec: LoadedSpec): void {
    // A cancel that came while the function was loaded holds.
    const context = this.#contextOf(call, spec, call.context?.abort);
    call.context = context;
    showName(
      call.kind === CallKind.task ? spec.fields.name : (this.#actor?.className ?? spec.fields.name),
    );
    enterAmounts(this.#connection.native, spec.fields.resources);
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
    const { args, payload } = call;
    return payload === null
      ? { args: args ?? [], kwargs: null }
      : decodeArgs(payload, this.#argumentContext);
  }

  #invoke(call: Call, spec: LoadedSpec, context: TaskContext, args: CallArgs): void {
    try {
      context.abort.controller?.signal.throwIfAborted();
      const span = args.kwargs === null ? null : openSpan(call, context, args.kwargs);
      const streaming = (call.flags & CallFlag.streaming) !== 0;
      const result =
        span === null
          ? this.#enter(call, spec, context, args.args)
          : span.run(() => this.#enter(call, spec, context, args.args), streaming);
      if (streaming) this.#stream(call, spec, context, result, span);
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

  #enter(call: Call, spec: LoadedSpec, context: TaskContext, args: unknown[]): unknown {
    return taskContext.run(context, () => this.#intercepted(call, spec, context, args));
  }

  #intercepted(call: Call, spec: LoadedSpec, context: TaskContext, args: unknown[]): unknown {
    if (executing.run === null || call.kind === CallKind.actorCreate)
      return this.#body(call, spec, args);
    const kind = call.kind === CallKind.task ? "task" : "method";
    const name = context.taskName;
    return executing.run({ kind, name, args }, (next) => this.#body(call, spec, [...next.args]));
  }

  #body(call: Call, spec: LoadedSpec, args: unknown[]): unknown {
    if (call.kind === CallKind.task) {
      const { fn } = spec; // without a `this`
      return fn(...args);
    }
    if (call.kind === CallKind.actorCreate) return this.#construct(call, spec, args);
    const actor = this.#actor;
    if (actor === null)
      throw makeError("BROKEN_INVARIANT", "an actor call came to a worker without an actor");
    if (call.method === readyMethod) return null;
    if (call.method === terminateMethod) throw new ActorExit("the actor was told to end");
    const method = actor.instance[call.method];
    if (typeof method !== "function" || call.method === "constructor") {
      throw makeError("INVALID_ARGUMENT", `${actor.className} has no method "${call.method}"`, {
        actorId: actor.id,
      });
    }
    return (method as (...args: unknown[]) => unknown).apply(actor.instance, args);
  }

  #construct(call: Call, spec: LoadedSpec, args: unknown[]): unknown {
    const made = newInstance(call, spec, args);
    return isThenable(made)
      ? Promise.resolve(made).then((instance) => this.#constructed(call, spec, instance))
      : this.#constructed(call, spec, made);
  }

  #constructed(call: Call, spec: LoadedSpec, instance: unknown): null {
    const native = this.#connection.native;
    this.#actor = actorOf(call, spec, instance);
    this.#actorSpec = spec;
    const { maxConcurrency, concurrencyGroups, methods } = spec.fields;
    this.#pools.setUp(Math.max(1, maxConcurrency), concurrencyGroups, methods);
    const handle = native.handleOfId(call.actorId);
    if (handle !== 0) {
      native.setActorIdentity(handle, call.incarnation);
      native.releaseHandle(handle);
    }
    return null;
  }

  #stream(
    call: Call,
    spec: LoadedSpec,
    context: TaskContext,
    result: unknown,
    span: Execution | null,
  ): void {
    const ahead = this.#highWaterMark(call, spec);
    const start = () => runStream(this.#connection, call, result, ahead, context);
    const { promise, state } = span === null ? start() : span.follow(start);
    call.stream = state;
    promise.then(
      () => {
        const signal = context.abort.controller?.signal;
        if (signal?.aborted === true) this.#fail(call, signal.reason, context.taskName, spec);
        else this.#succeed(call, spec, context, null);
      },
      (error: unknown) => this.#fail(call, error, context.taskName, spec),
    );
  }

  #highWaterMark(call: Call, spec: LoadedSpec): number {
    return (
      call.extras?.highWaterMark ??
      spec.extras?.methods[call.method]?.highWaterMark ??
      spec.fields.streamHighWaterMark
    );
  }

  #succeed(call: Call, spec: LoadedSpec, context: TaskContext, value: unknown): void {
    if (!call.isRunning) return; // it ran out of time and was answered
    if (timedOut(context) !== null) {
      this.#fail(call, timedOut(context), context.taskName, spec);
      return;
    }
    if (context.abort.controller?.signal.aborted === true && value === undefined) {
      this.#fail(call, context.abort.controller.signal.reason, context.taskName, spec);
      return;
    }
    try {
      replyValue(this.#connection, call, context, value);
    } catch (error) {
      this.#fail(call, error, context.taskName, spec);
      return;
    }
    this.#done(call);
  }

  #fail(call: Call, thrown: unknown, name: string, spec?: LoadedSpec): void {
    if (!call.isRunning) return;
    if (thrown instanceof ActorExit) {
      void this.#exitActor(call);
      return;
    }
    const { context } = call;
    const aborted = context?.abort.controller?.signal.aborted === true;
    if (!aborted && spec !== undefined && call.retriesLeft !== 0) {
      const again = retryDecision(spec, call, thrown);
      if (again instanceof Promise) {
        void again.then((yes) =>
          yes ? this.#retry(call, spec) : this.#failNow(call, thrown, name, context),
        );
        return;
      }
      if (again) return this.#retry(call, spec);
    }
    this.#failNow(call, thrown, name, context);
  }

  /** Gives the call back, to run again, after the pause that its plan asks for. */
  #retry(call: Call, spec: LoadedSpec): void {
    const plan = retryPlan(spec, call);
    const answer = (): void => {
      if (!call.isRunning) return; // cancelled meanwhile
      this.#connection.native.reply(call.number, ReplyStatus.retry);
      this.#done(call);
    };
    if (plan === null) return answer();
    const goOn = this.block();
    setTimeout(
      () => {
        goOn();
        answer();
      },
      pauseMs(plan, call.attempt, Math.random),
    );
  }

  #failNow(call: Call, thrown: unknown, name: string, context: TaskContext | null): void {
    if (!call.isRunning) return;
    const late = context === null ? null : timedOut(context);
    const aborted = context?.abort.controller?.signal.aborted === true;
    const cancelled =
      context !== null &&
      aborted &&
      late === null &&
      (thrown === context.abort.controller?.signal.reason ||
        (thrown as Error | undefined)?.name === "AbortError");
    const own = cancelled ? cancelledError(this.#connection, call, context) : late;
    this.#settleError(call, own, thrown, name);
  }

  /** Answers with an error of polyray's own, or with what the function threw. */
  #settleError(call: Call, own: PolyrayError | null, thrown: unknown, name: string): void {
    replyError(this.#connection, call, own, thrown, name);
    this.#done(call);
    if (call.kind === CallKind.actorCreate) setTimeout(() => this.#exit(1), 200).unref();
  }

  /** The time limit is over: the body's signal fires; a body that does not end soon loses its process. */
  #timeUp(call: Call, context: TaskContext): void {
    const error = makeError(
      "TASK_TIMEOUT",
      `${context.taskName} ran past its time limit`,
      placeOf(this.#connection, call, context.taskName),
    );
    context.abort.controller ??= new AbortController();
    const { controller } = context.abort;
    taskContext.run(context, () => controller.abort(error));
    call.stream?.stop();
    setTimeout(() => {
      if (!call.isRunning) return;
      this.#settleError(call, error, error, context.taskName);
      if (this.#actor === null) this.#leave();
    }, timeoutGraceMs).unref();
  }

  #done(call: Call): void {
    const { pool, context, place } = call;
    this.#connection.store.flushSoon();
    if (!call.isRunning || pool === null) return;
    const last = this.#running.pop() as Call;
    if (last !== call) {
      this.#running[place] = last;
      last.place = place;
    }
    call.place = -1;
    pool.running--;
    if (context !== null) this.#children.end(context.children);
    if (call.kind === CallKind.task) this.#taskOver(call);
    if (pool.queue.length > 0 || this.#recycle) this.#next(pool);
  }

  #taskOver(call: Call): void {
    this.#epoch++;
    if (this.#blocked > 0) this.#shiftBlocked(-this.#blocked);
    // maxCalls: this worker leaves after so many runs of the function.
    const spec = knownSpec(call.spec);
    if (spec === undefined || spec.fields.maxCalls <= 0) return;
    const done = (this.#callsDone.get(spec) ?? 0) + 1;
    this.#callsDone.set(spec, done);
    if (done >= spec.fields.maxCalls) this.#recycle = true;
  }

  #cancel(number: number, flags: number, given: Uint8Array): void {
    const force = (flags & CancelFlag.force) !== 0;
    const recursive = (flags & CancelFlag.notRecursive) === 0;
    const late = (flags & CancelFlag.timeout) !== 0;
    const queued = this.#pools.takeQueued(number);
    if (queued !== null) {
      const error = late
        ? makeError("TASK_TIMEOUT", "its time limit passed before it ran", {
            taskId: queued.taskId,
          })
        : makeError("TASK_CANCELLED", "cancelled before it ran", { taskId: queued.taskId });
      this.#settleError(queued, error, error, queued.method);
      return;
    }
    const call = this.#runningCall(number);
    const context = call?.context ?? null;
    if (call === undefined || context === null) return;
    if (late) return this.#timeUp(call, context);
    const why = reasonOf(this.#connection, given);
    const reason =
      why ??
      makeError("TASK_CANCELLED", `${context.taskName} was cancelled`, { taskId: call.taskId });
    if (recursive)
      this.#children.each(context, (child) =>
        cancelHandle(this.#connection, child, { force, recursive, reason: why }),
      );
    if (force && this.#actor === null) {
      this.#connection.native.flush();
      this.#exit(1);
    }
    context.abort.controller ??= new AbortController();
    const { controller } = context.abort;
    // Listeners see the context of the call that they belong to.
    taskContext.run(context, () => controller.abort(reason));
    call.stream?.stop();
    if (context.abort.asked !== true) this.#abandon(call, context);
  }

  /**
   * A body that never asked for its signal cannot notice that it was cancelled: soon the call is answered without it. A
   * task's worker is then replaced; an actor goes on.
   */
  #abandon(call: Call, context: TaskContext): void {
    // A generator is ended by its return(): what it does in its `finally` has time.
    const graceMs =
      call.stream !== null ? streamGraceMs : this.#blocked > 0 ? blockedGraceMs : cancelGraceMs;
    setTimeout(() => {
      if (!call.isRunning) return;
      if (this.#actor === null) this.#recycle = true;
      const error = cancelledError(this.#connection, call, context);
      this.#settleError(call, error, error, context.taskName);
    }, graceMs).unref();
  }

  async #exitActor(call: Call): Promise<void> {
    this.#exiting = true;
    if (this.#actor !== null) {
      const id = Buffer.from(this.#actor.id, "hex");
      await this.#connection.request("actor.exit", { actor: id }).catch(() => undefined);
    }
    const name = call.context?.taskName ?? call.method;
    const where = placeOf(this.#connection, call, name);
    const error = makeError("ACTOR_DIED", `${name}: the actor left by exitActor()`, where);
    this.#settleError(call, error, error, name);
    await this.dispose();
    this.#leave();
  }

  /** Lets the actor's instance clean up: its [Symbol.asyncDispose] or [Symbol.dispose] runs, once. */
  async dispose(): Promise<void> {
    this.#exiting = true;
    if (this.#actor === null || this.#disposed) return;
    this.#disposed = true;
    await endInstance(this.#actor);
  }

  #leave(): void {
    this.#exiting = true;
    const reported = lastWords(this.#connection);
    this.#connection.native.workerExit();
    this.#connection.native.flush();
    void reported.then(() => setImmediate(() => this.#exit(0)));
  }
}

/** The value of a ref that was given as an argument. */
function argumentOf(store: ObjectStore, id: string): unknown {
  const ref = store.importRef(id);
  try {
    const peeked = store.peek(ref);
    if (peeked === undefined) throw makeError("BROKEN_INVARIANT", `argument ${id} is not sealed`);
    return peeked.value;
  } finally {
    ref[Symbol.dispose]();
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
