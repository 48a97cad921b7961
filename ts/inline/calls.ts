// SPDX-License-Identifier: Apache-2.0
// Calls of an inline runtime: which run now, on which virtual worker, and how they settle. Tasks wait for their arguments
// and for resources; calls of an actor keep their order.
//
// Invariants: (1) a call is settled once; (2) what a call holds (arguments, returns, its actor) is let go when it is
// settled; (3) resources come back with the reply, or while the call is blocked.

import { makeError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import {
  ActorPhase,
  CallFlag,
  CallKind,
  CallRec,
  CancelFlag,
  EventKind,
  Language,
  ObjectStatus,
  Rec,
  ReplyStatus,
  type SpecOptions,
} from "../native/binding.ts";
import { envelopeArgRefs } from "../object/envelope.ts";
import { encodeError, plainContext } from "../object/serialize.ts";
import type { Entry, Objects } from "./objects.ts";
import type { Records } from "./records.ts";

export interface InlineCall {
  readonly number: number;
  readonly kind: number;
  readonly flags: number;
  readonly method: string;
  readonly specHandle: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly priority: number;
  readonly returns: readonly Entry[];
  readonly args: Uint8Array;
  readonly held: readonly Entry[];
  readonly top: readonly Entry[];
  readonly actor: InlineActor | null;
  readonly incarnation: number;
  /** What tells its actor's queue when it settles. */
  awaits: Entry | null;
  attempt: number;
  retriesLeft: number;
  isSettled: boolean;
  /** When its time limit ends (performance.now()), 0: it has none. */
  endMs: number;
  timer: NodeJS.Timeout | null;
  cancelError: Uint8Array | null;
  worker: InlineWorker | null;
}

/** Where calls run: the executor of a worker process, here a few objects. */
export interface InlineWorker {
  readonly number: number;
  readonly actor: InlineActor | null;
  isGone: boolean;
  isBlocked: boolean;
  /** The task that runs there (actors: null). */
  task: InlineCall | null;
}

export interface InlineActor {
  readonly entry: Entry;
  phase: number;
  worker: InlineWorker | null;
  incarnation: number;
  maxTaskRetries: number;
  error: Uint8Array | null;
  readonly queue: InlineCall[];
  readonly sent: Set<InlineCall>;
}

export class Calls {
  readonly objects: Objects;
  readonly records: Records;
  readonly free: Record<string, number>;
  readonly total: Readonly<Record<string, number>>;
  readonly byNumber = new Map<number, InlineCall>();
  readonly #byTask = new Map<Entry, InlineCall>();
  /** Tasks that wait for resources, by what they ask for. */
  readonly #ready = new Map<object, InlineCall[]>();
  readonly #actors = new Map<Entry, InlineActor>();
  readonly #makeWorker: (actor: InlineActor | null) => InlineWorker;
  readonly #beforeStart: (specHandle: number) => void;
  readonly #idle: InlineWorker[] = [];
  /** Actors that wait for resources. */
  readonly placing: (() => boolean)[] = [];
  #last = 0;

  constructor(
    objects: Objects,
    records: Records,
    total: Readonly<Record<string, number>>,
    makeWorker: (actor: InlineActor | null) => InlineWorker,
    beforeStart: (specHandle: number) => void,
  ) {
    this.objects = objects;
    this.records = records;
    this.total = total;
    this.free = { ...total };
    this.#makeWorker = makeWorker;
    this.#beforeStart = beforeStart;
  }

  /** A task. Its returns carry one handle count each, the caller's. */
  task(
    spec: SpecOptions,
    args: Uint8Array,
    returnCount: number,
    flags: number,
    maxRetries: number,
  ): InlineCall {
    const call = this.#make({
      kind: CallKind.task,
      flags,
      method: "",
      specHandle: spec.spec,
      resources: spec.resources,
      priority: spec.priority,
      args,
      returnCount,
      actor: null,
      incarnation: 0,
      retriesLeft: maxRetries === -2 ? spec.maxRetries : maxRetries,
    });
    if (spec.language === Language.py)
      this.settleWith(
        call,
        makeError(
          "TASK_UNSCHEDULABLE",
          'Python functions need worker processes: init({ mode: "inline" }) runs TypeScript only',
        ),
      );
    else if (!this.canEver(spec.resources))
      this.settleWith(
        call,
        makeError("TASK_UNSCHEDULABLE", `no node can ever give ${this.#missing(spec.resources)}`),
      );
    else
      this.#whenReady(call, () => {
        const queue = this.#queueOf(call);
        const last = queue.at(-1);
        const at =
          last === undefined || last.priority >= call.priority
            ? -1
            : queue.findIndex((one) => one.priority < call.priority);
        queue.splice(at < 0 ? queue.length : at, 0, call);
        this.schedule();
      });
    return call;
  }

  /** The constructor of an actor, on the worker that was given to it. */
  construct(
    actor: InlineActor,
    worker: InlineWorker,
    specHandle: number,
    args: Uint8Array,
    incarnation: number,
  ): InlineCall {
    const call = this.#make({
      kind: CallKind.actorCreate,
      flags: 0,
      method: "",
      specHandle,
      resources: {},
      priority: 0,
      args,
      returnCount: 1,
      actor,
      incarnation,
      retriesLeft: 0,
    });
    this.#whenReady(call, () => this.#send(call, worker));
    return call;
  }

  /** A method call. */
  method(
    actor: InlineActor,
    method: string,
    args: Uint8Array,
    returnCount: number,
    flags: number,
    maxRetries: number,
  ): InlineCall {
    const call = this.#make({
      kind: CallKind.actorCall,
      flags,
      method,
      specHandle: 0,
      resources: {},
      priority: 0,
      args,
      returnCount,
      actor,
      incarnation: 0,
      retriesLeft: maxRetries,
    });
    actor.queue.push(call);
    this.#flushActor(actor);
    return call;
  }

  /** The call that makes an object, while it is not settled. */
  callOf(taskId: string): InlineCall | undefined {
    const entry = this.objects.byId(taskId);
    return entry === undefined ? undefined : this.#byTask.get(entry);
  }

  actorOf(entry: Entry): InlineActor {
    let actor = this.#actors.get(entry);
    if (actor === undefined) {
      actor = {
        entry,
        phase: ActorPhase.unknown,
        worker: null,
        incarnation: 0,
        maxTaskRetries: 0,
        error: null,
        queue: [],
        sent: new Set(),
      };
      this.#actors.set(entry, actor);
    }
    return actor;
  }

  forgetActor(entry: Entry): void {
    this.#actors.delete(entry);
  }

  /** What the control service says of an actor. */
  setActor(
    actor: InlineActor,
    phase: number,
    worker: InlineWorker | null,
    incarnation: number,
    error: Uint8Array | null,
  ): void {
    // An answer that later news has overtaken.
    const isOld =
      incarnation < actor.incarnation ||
      (phase === ActorPhase.pending && actor.phase !== ActorPhase.unknown) ||
      actor.phase === ActorPhase.dead;
    if (isOld && phase !== ActorPhase.dead) return;
    actor.phase = phase;
    actor.worker = worker;
    actor.error = error;
    actor.incarnation = incarnation;
    if (phase === ActorPhase.alive) return this.#flushActor(actor);
    if (phase === ActorPhase.dead) {
      for (const call of [...actor.sent, ...actor.queue.splice(0)]) this.#failDead(call, actor);
    }
  }

  /** A worker is gone: what ran there settles, or goes back to its queue. */
  workerGone(worker: InlineWorker): void {
    worker.isGone = true;
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
    const back: InlineCall[] = [];
    for (const call of this.byNumber.values()) {
      if (call.worker !== worker || call.isSettled) continue;
      call.worker = null;
      if (call.kind === CallKind.actorCall && call.actor !== null) {
        call.actor.sent.delete(call);
        if (this.#mayResend(call)) back.push(call);
        else if (call.actor.phase === ActorPhase.dead) this.#failDead(call, call.actor);
        else
          this.settleWith(
            call,
            makeError("ACTOR_UNAVAILABLE", "the actor's process ended while it ran the call"),
          );
      } else if (call.kind === CallKind.task) {
        // A worker that left after its last task had not begun this one.
        if (!worker.isBlocked) this.take(call.resources, -1);
        this.#queueOf(call).unshift(call);
      } else this.settleWith(call, makeError("WORKER_CRASHED", "the actor's worker ended"));
    }
    back[0]?.actor?.queue.unshift(...back);
  }

  /** Settles all returns with an error of polyray. */
  settleWith(call: InlineCall, error: Error): void {
    this.settle(call, encodeError(error as never, plainContext).toBytes(), true);
  }

  /** Seals every return with the same envelope, and ends the call. */
  settle(call: InlineCall, bytes: Uint8Array, isError: boolean): void {
    for (const entry of call.returns) this.objects.seal(entry, bytes, isError);
    this.end(call);
  }

  /** The call is over: lets go what it held. */
  end(call: InlineCall): void {
    if (call.isSettled) return;
    call.isSettled = true;
    if (call.timer !== null) clearTimeout(call.timer);
    this.byNumber.delete(call.number);
    const first = call.returns[0] as Entry;
    this.#byTask.delete(first);
    call.actor?.sent.delete(call);
    if ((call.flags & 1) !== 0) {
      const { handle } = first;
      this.records.post(() =>
        first.handles > 0 ? { kind: EventKind.streamEnd, words: { [Rec.handle]: handle } } : null,
      );
    }
    for (const entry of [...call.held, ...call.returns]) this.objects.letGo(entry);
    if (call.actor !== null) this.objects.letGo(call.actor.entry);
  }

  /** The worker's answer. */
  reply(number: number, status: number): void {
    const call = this.byNumber.get(number);
    if (call === undefined) return; // it was settled without its worker
    const { worker } = call;
    if (worker !== null) {
      this.#giveBack(call, worker);
      worker.task = null;
    }
    if (status === ReplyStatus.retry || status === ReplyStatus.returned) {
      if (status === ReplyStatus.retry) {
        call.attempt++;
        if (call.retriesLeft > 0) call.retriesLeft--;
      }
      call.worker = null;
      if (call.actor === null) {
        this.#queueOf(call).push(call);
      } else {
        call.actor.sent.delete(call);
        call.actor.queue.unshift(call);
        this.#flushActor(call.actor);
      }
    } else this.end(call);
    if (worker !== null && worker.actor === null && !worker.isGone) this.#idle.push(worker);
    this.schedule();
  }

  /** True: it was not running and is settled with `error`. */
  cancel(task: Entry, force: boolean, recursive: boolean, error: Uint8Array): boolean {
    const call = this.#byTask.get(task);
    if (call === undefined || call.isSettled) return true;
    if (call.worker === null) {
      const lists = [this.#ready.get(call.resources), call.actor?.queue];
      for (const list of lists) {
        const at = list?.indexOf(call) ?? -1;
        if (at >= 0) list?.splice(at, 1);
      }
      this.settle(call, error, true);
      return true;
    }
    call.cancelError = error;
    const a = recursive ? 0 : CancelFlag.notRecursive;
    const { id } = task;
    this.records.post(() => ({
      kind: EventKind.cancel,
      words: { [Rec.a]: a, [Rec.b0]: call.number },
      id,
    }));
    if (force && call.actor === null) {
      // There is no process to end: the call is answered without its body.
      const { worker } = call;
      this.#giveBack(call, worker);
      worker.isGone = true;
      this.records.post(() => {
        this.settle(call, error, true);
        this.schedule();
        return null;
      });
    }
    return false;
  }

  /** After so long (0: never) the call is settled when it waits, else its worker is told. */
  limit(call: InlineCall, timeoutMs: number): void {
    if (timeoutMs === 0 || call.isSettled) return;
    call.endMs = performance.now() + timeoutMs;
    call.timer = setTimeout(() => this.#timeUp(call), Math.min(timeoutMs, 2 ** 31 - 1));
  }

  #timeUp(call: InlineCall): void {
    const task = call.returns[0] as Entry;
    if (call.worker === null) {
      const error = makeError("TASK_TIMEOUT", "the call did not end within its time limit");
      this.cancel(task, false, false, encodeError(error, plainContext).toBytes());
      return;
    }
    this.records.post(() => ({
      kind: EventKind.cancel,
      words: { [Rec.a]: CancelFlag.timeout, [Rec.b0]: call.number },
      id: task.id,
    }));
  }

  /** The running call waits: its resources are free meanwhile. */
  setBlocked(worker: InlineWorker, isBlocked: boolean): void {
    if (worker.isBlocked === isBlocked || worker.isGone) return;
    worker.isBlocked = isBlocked;
    if (worker.task !== null) this.take(worker.task.resources, isBlocked ? -1 : 1);
    if (isBlocked) this.schedule();
  }

  take(resources: Readonly<Record<string, number>>, sign: 1 | -1): void {
    for (const [name, amount] of Object.entries(resources))
      this.free[name] = (this.free[name] ?? 0) - sign * amount;
  }

  canNow(resources: Readonly<Record<string, number>>): boolean {
    return Object.entries(resources).every(([name, amount]) => (this.free[name] ?? 0) >= amount);
  }

  canEver(resources: Readonly<Record<string, number>>): boolean {
    return Object.entries(resources).every(([name, amount]) => (this.total[name] ?? 0) >= amount);
  }

  /** Starts what can start. */
  schedule(): void {
    for (let i = 0; i < this.placing.length; ) {
      if (this.placing[i]?.() === true) this.placing.splice(i, 1);
      else i++;
    }
    for (const queue of this.#ready.values()) {
      while (queue[0] !== undefined && this.canNow(queue[0].resources)) {
        const call = queue.shift() as InlineCall;
        this.take(call.resources, 1);
        const worker = this.#idle.pop() ?? this.#makeWorker(null);
        worker.isBlocked = false;
        this.#send(call, worker);
      }
    }
  }

  #queueOf(call: InlineCall): InlineCall[] {
    let queue = this.#ready.get(call.resources);
    if (queue === undefined) {
      queue = [];
      this.#ready.set(call.resources, queue);
    }
    return queue;
  }

  #missing(resources: Readonly<Record<string, number>>): string {
    const unit = limits.resourceUnit;
    return Object.entries(resources)
      .filter(([name, amount]) => amount > (this.total[name] ?? 0))
      .map(
        ([name, amount]) => `${name} ${amount / unit} (it has ${(this.total[name] ?? 0) / unit})`,
      )
      .join(", ");
  }

  #make(given: {
    kind: number;
    flags: number;
    method: string;
    specHandle: number;
    resources: Readonly<Record<string, number>>;
    priority: number;
    args: Uint8Array;
    returnCount: number;
    actor: InlineActor | null;
    incarnation: number;
    retriesLeft: number;
  }): InlineCall {
    const { returnCount, ...fields } = given;
    const returns = Array.from({ length: returnCount }, () => this.objects.make());
    const held = this.objects.inside(given.args);
    const top = envelopeArgRefs(given.args)
      .map((id) => this.objects.byId(id))
      .filter((entry) => entry !== undefined);
    const call: InlineCall = {
      ...fields,
      number: ++this.#last,
      returns,
      held,
      top,
      awaits: null,
      attempt: 0,
      isSettled: false,
      endMs: 0,
      timer: null,
      cancelError: null,
      worker: null,
    };
    for (const entry of [...held, ...returns]) entry.holds++;
    if (given.actor !== null) given.actor.entry.holds++;
    this.byNumber.set(call.number, call);
    this.#byTask.set(returns[0] as Entry, call);
    return call;
  }

  /** Runs `next` once the arguments are there; an argument that failed fails the call. */
  #whenReady(call: InlineCall, next: () => void): void {
    if (call.isSettled) return;
    const failed = call.top.find((entry) => entry.status === ObjectStatus.error);
    if (failed?.bytes != null) return this.settle(call, failed.bytes, true);
    const waits = call.top.find((entry) => entry.status === ObjectStatus.pending);
    if (waits === undefined) next();
    else waits.onSettled.push(() => this.#whenReady(call, next));
  }

  #flushActor(actor: InlineActor): void {
    if (actor.phase === ActorPhase.dead) {
      for (const call of actor.queue.splice(0)) this.#failDead(call, actor);
      return;
    }
    let at = 0;
    while (at < actor.queue.length && actor.phase === ActorPhase.alive && actor.worker !== null) {
      const call = actor.queue[at] as InlineCall;
      const waits = call.top.find((entry) => entry.status === ObjectStatus.pending);
      if (waits !== undefined) {
        if (call.awaits !== waits) {
          call.awaits = waits;
          waits.onSettled.push(() => this.#flushActor(actor));
        }
        if ((call.flags & CallFlag.unordered) === 0) return;
        at++; // later calls may overtake it
        continue;
      }
      actor.queue.splice(at, 1);
      const failed = call.top.find((entry) => entry.status === ObjectStatus.error);
      if (failed?.bytes != null) this.settle(call, failed.bytes, true);
      else {
        if (call.retriesLeft === -2) call.retriesLeft = actor.maxTaskRetries;
        actor.sent.add(call);
        this.#send(call, actor.worker);
      }
    }
  }

  #mayResend(call: InlineCall): boolean {
    if (call.retriesLeft === 0 || call.actor?.phase === ActorPhase.dead) return false;
    if (call.retriesLeft > 0) call.retriesLeft--;
    call.attempt++;
    return true;
  }

  #failDead(call: InlineCall, actor: InlineActor): void {
    if (actor.error !== null) this.settle(call, actor.error, true);
    else this.settleWith(call, makeError("ACTOR_DIED", "the actor is dead and will not come back"));
  }

  #giveBack(call: InlineCall, worker: InlineWorker): void {
    if (call.kind === CallKind.task && !worker.isBlocked && !worker.isGone)
      this.take(call.resources, -1);
  }

  #send(call: InlineCall, worker: InlineWorker): void {
    if (call.isSettled) return;
    call.worker = worker;
    if (call.kind === CallKind.task) worker.task = call;
    this.records.post(() => {
      if (call.isSettled || call.worker !== worker) return null;
      if (call.specHandle !== 0) this.#beforeStart(call.specHandle);
      const actorId = call.actor?.entry.id;
      return {
        kind: EventKind.call,
        words: {
          [Rec.a]: call.number,
          [CallRec.kind]: call.kind,
          [CallRec.flags]: call.flags,
          [CallRec.spec]: call.specHandle,
          [CallRec.incarnation]: call.actor?.incarnation ?? call.incarnation,
          [CallRec.attempt]: call.attempt,
          [CallRec.retriesLeft]: call.retriesLeft,
          [CallRec.returnCount]: call.returns.length,
          [CallRec.leftMs]:
            call.endMs === 0 ? 0 : Math.max(1, Math.ceil(call.endMs - performance.now())),
        },
        id: (call.returns[0] as Entry).id,
        ...(actorId === undefined ? {} : { actorId }),
        method: call.method,
        payload: call.args,
      };
    });
  }
}
