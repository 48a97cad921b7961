// SPDX-License-Identifier: Apache-2.0
// This environment's connection to a runtime: the object store plus requests to the node service, actor states, and the
// registry of functions that were sent. The api (driver) and the worker share it; context.ts of this folder holds the slot.
//
// Owns: the store, open requests, which actors are watched. Calls and cancels that arrive go to `executor` (workers).
// Invariants: (1) a request is answered or rejected exactly once; (2) an actor is watched from its first call on;
// (3) after close nothing is submitted.

import { encode as pack, decode as unpack } from "@msgpack/msgpack";
import type { ErrorCode } from "../base/error-codes.ts";
import { errorOfCode, makeError, type PolyrayError } from "../base/errors.ts";
import { idFromBytes, idToBytes } from "../base/ids.ts";
import {
  ActorPhase,
  type AttachOptions,
  EventKind,
  type NativeBinding,
  Rec,
} from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";
import { setCurrentStore } from "../object/context.ts";
import { collectGarbage } from "../object/garbage.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { Encoded } from "../object/serialize.ts";
import { ObjectStore } from "../object/store.ts";
import { type HandleMeta, handleParts, isActorHandle, makeActorHandle } from "./actor-handle.ts";
import { decodeFunctionValue, encodeFunctionValue } from "./function-values.ts";
import { Specs, type Target } from "./specs.ts";
import type { WorkerKeyBase } from "./worker-key.ts";

/** Push topics of the node service. */
export const PushTopic = { actorState: 1, lines: 2, warning: 3 } as const;

/** Whoever runs calls in this process (ts/worker). */
export interface Executor {
  onEvent(reader: EventReader): void;
  /** The running task waits: its resources go back until the returned function is called (or the task ends). */
  block(): () => void;
  /** The running call submitted another one, whose first return has this handle. */
  submitted(handle: number): void;
}

/** A stream that wants its records (api). */
export interface StreamSink {
  item(number: number, handle: number): void;
  end(): void;
  /** The connection is closed: whoever waits fails. */
  closed(): void;
}

interface Settle {
  readonly resolve: (fields: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

/** Where this process is. */
export interface Place {
  readonly address: string;
  readonly nodeId: string;
  readonly sessionDir: string;
  readonly sessionId: string;
  readonly namespace: string;
}

const smallArgsBytes = 16 * 1024;
const serviceCallMs = 30_000;

/** The fields of an answer. Throws the service's typed error. */
function answerOf(bytes: Uint8Array): Record<string, unknown> {
  const answer = unpack(bytes) as Record<string, unknown>;
  if (answer.ok === true) return answer;
  throw errorOfCode(answer.code as ErrorCode, String(answer.message));
}

export class Connection {
  readonly store: ObjectStore;
  readonly native: NativeBinding;
  readonly specs: Specs;
  readonly streams = new Map<number, StreamSink>();
  /** Results of calls that were given an idempotencyKey, by function and key. */
  readonly once = new Map<string, ObjectRef | ObjectRef[]>();
  /** What workers that this process asks for have in common. */
  keyBase: WorkerKeyBase;
  place: Place;
  executor: Executor | null = null;
  /** Grows when keyBase changes: specs are registered again. */
  keyVersion = 0;
  /** Worker plugins live as long as the connection. */
  readonly plugins: ObjectRef[] = [];
  /** Told of every spec that is put (the inline mode calls its function itself). */
  onSpec: ((specId: string, target: Target) => void) | null = null;
  /** Called when the runtime ends under us. */
  onShutdown: () => void = () => undefined;
  #collecting = false;
  readonly #requests = new Map<number, Settle>();
  readonly #watched = new Set<string>();

  constructor(native: NativeBinding, attach: AttachOptions, keyBase: WorkerKeyBase, place: Place) {
    this.native = native;
    this.keyBase = keyBase;
    this.place = place;
    this.store = ObjectStore.open(native, {
      attach,
      hooks: {
        handleOf: (value) => (isActorHandle(value) ? handleParts(value) : null),
        encodeFunction: (fn) => encodeFunctionValue(fn),
        makeHandle: (meta, ref) => this.#importHandle(meta, ref),
        decodeFunction: (payload) => decodeFunctionValue(payload),
      },
      onEvent: (reader) => this.#onEvent(reader),
    });
    this.keyBase = { ...keyBase, job: keyBase.job === 0 ? this.store.info.job : keyBase.job };
    this.specs = new Specs(this);
    setCurrentStore(this.store);
  }

  get isOpen(): boolean {
    return this.store.isOpen;
  }

  /** Runs a wait; in a worker the running task gives its resources back meanwhile. */
  async whileBlocked<T>(wait: () => Promise<T>): Promise<T> {
    const goOn = this.executor?.block();
    try {
      return await wait();
    } finally {
      goOn?.();
    }
  }

  /** Ends the connection. Pending gets and requests are rejected. */
  close(reason?: PolyrayError): void {
    this.store.close(reason);
    setCurrentStore(null);
    for (const waiter of this.#requests.values())
      waiter.reject(reason ?? makeError("CLOSED", "the runtime was shut down"));
    for (const stream of this.streams.values()) stream.closed();
    this.streams.clear();
    this.#requests.clear();
  }

  /** Asks the node service (docs/design/0001-core.md). Rejects with the service's typed error. */
  request(method: string, fields: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const payload = pack({ m: method, ...fields }, { ignoreUndefined: true });
      this.#requests.set(this.native.serviceRequest(payload), { resolve, reject });
      this.store.hold();
      this.store.flushSoon();
    });
  }

  /** As `request`, blocking the thread until the answer is there: for what must be known before a call returns. */
  requestNow(method: string, fields: Record<string, unknown> = {}): Record<string, unknown> {
    const payload = pack({ m: method, ...fields }, { ignoreUndefined: true });
    const bytes = this.native.serviceCall(payload, serviceCallMs);
    if (bytes === null)
      throw makeError(
        "GET_TIMEOUT",
        `the control service did not answer ${method} within ${serviceCallMs} ms`,
      );
    return answerOf(bytes);
  }

  /** Makes sure that calls to an actor will learn where it is. */
  watch(actor: ObjectRef<unknown>): void {
    const id = actor.id;
    if (this.#watched.has(id)) return;
    this.#watched.add(id);
    this.request("actor.watch", { actor: idToBytes(id) }).then(
      (state) => this.#actorState(state),
      () => this.#watched.delete(id), // closed: the pending calls were rejected with the store
    );
  }

  /** Creates an actor at the control service. `args`: the arguments of its constructor. */
  async createActor(
    actor: ObjectRef<unknown>,
    fields: Record<string, unknown>,
    args: Encoded,
  ): Promise<Record<string, unknown>> {
    const { given, stored } = this.#actorArgs(args);
    try {
      return await this.request("actor.create", {
        ...fields,
        actor: idToBytes(actor.id),
        ...given,
      });
    } finally {
      stored?.[Symbol.dispose]();
    }
  }

  /** As createActor, blocking: throws ActorAlreadyExistsError. */
  createActorNow(
    actor: ObjectRef<unknown>,
    fields: Record<string, unknown>,
    args: Encoded,
  ): Record<string, unknown> {
    const { given, stored } = this.#actorArgs(args);
    try {
      return this.requestNow("actor.create", { ...fields, actor: idToBytes(actor.id), ...given });
    } finally {
      stored?.[Symbol.dispose]();
    }
  }

  #actorArgs(args: Encoded): { given: Record<string, unknown>; stored: ObjectRef | null } {
    if (args.size <= smallArgsBytes) return { given: { args: args.toBytes() }, stored: null };
    const stored = this.store.refOf(this.store.putEncoded(args));
    return { given: { args: idToBytes(stored.id), argsInStore: true }, stored };
  }

  /** Who this process is, as texts. */
  identity(): { jobId: string; nodeId: string; workerId: string } {
    const { endpoint, serial } = this.store.info;
    const hex = (value: number): string => value.toString(16).padStart(8, "0");
    return {
      jobId: hex(this.keyBase.job),
      nodeId: this.place.nodeId,
      workerId: hex(endpoint) + hex(serial),
    };
  }

  #importHandle(meta: unknown, ref: string | null): unknown {
    if (ref === null) throw makeError("VALUE_CORRUPT", "an actor handle without its actor");
    return makeActorHandle(this, this.store.importRef(ref), meta as HandleMeta);
  }

  #onEvent(reader: EventReader): void {
    switch (reader.kind) {
      case EventKind.serviceAnswer:
        this.#answer(reader.word(Rec.a), reader.payloadView());
        break;
      case EventKind.push:
        if (reader.word(Rec.a) === PushTopic.actorState)
          this.#actorState(unpack(reader.payloadView()) as Record<string, unknown>);
        break;
      case EventKind.streamItem:
        this.#streamItem(reader.word(Rec.handle), reader.word(Rec.a), reader.word(Rec.handle2));
        break;
      case EventKind.streamEnd:
        this.streams.get(reader.word(Rec.handle))?.end();
        break;
      case EventKind.gcRequest:
        this.#collect();
        break;
      case EventKind.shutdown:
        this.executor?.onEvent(reader);
        this.onShutdown();
        break;
      default:
        this.executor?.onEvent(reader);
        break;
    }
  }

  /**
   * V8 ends the buffers that a collection found in later turns of the event loop, which must come:
   * an idle loop would never see them.
   */
  #collect(): void {
    if (this.#collecting) return;
    this.#collecting = true;
    collectGarbage();
    let turns = 0;
    const timer = setInterval(() => {
      if (++turns === 1) collectGarbage();
      if (this.native.isAttached()) this.native.gcDone();
      if (turns < 15 && this.native.isAttached()) return;
      clearInterval(timer);
      this.#collecting = false;
    }, 20);
    timer.unref();
  }

  #streamItem(task: number, number: number, item: number): void {
    const stream = this.streams.get(task);
    if (stream === undefined) this.native.releaseHandle(item);
    else stream.item(number, item);
  }

  #answer(request: number, payload: Uint8Array): void {
    const waiter = this.#requests.get(request);
    if (waiter === undefined) return;
    this.#requests.delete(request);
    this.store.unhold();
    try {
      waiter.resolve(answerOf(payload.slice()));
    } catch (error) {
      waiter.reject(error as Error);
    }
  }

  #actorState(state: Record<string, unknown>): void {
    if (!this.isOpen) return;
    const id = idFromBytes(state.actor as Uint8Array);
    const phase = Number(state.phase);
    const handle = this.native.handleOfId(id);
    if (handle !== 0) {
      this.native.setActorState(
        handle,
        phase,
        Number(state.endpoint),
        Number(state.serial),
        Number(state.incarnation),
        Number(state.maxTaskRetries),
        state.error instanceof Uint8Array ? state.error.slice() : null,
      );
      this.native.releaseHandle(handle);
      this.store.flushSoon();
    }
    if (phase === ActorPhase.dead) this.#watched.delete(id);
  }
}
