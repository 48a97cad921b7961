// SPDX-License-Identifier: Apache-2.0
// The object store as one JS environment sees it: values in and out, refs, waiting. One per attach.
//
// Owns the attachment of this environment, the waiters, and the scratch memory into which small envelopes are written.
// Everything else that arrives (calls, answers, pushes) goes to `onEvent`, one record at a time.
// Invariants: (1) bells are flushed before the event loop goes on; (2) the loop is kept alive only while somebody waits
// (waiters or `hold`); (3) after `close` every method throws ClosedError and finalizers do nothing.

import { makeError, PolyrayError } from "../base/errors.ts";
import {
  type AttachInfo,
  type AttachOptions,
  EventKind,
  envelopeRefs,
  type NativeBinding,
  type NativeObjectInfo,
  ObjectStatus,
  Rec,
} from "../native/binding.ts";
import { EventReader } from "../native/events.ts";
import { Collected, tellUnseen } from "./collected.ts";
import { collectGarbage } from "./garbage.ts";
import { ManyGet, OneGet, type WaitOptions, WaitSome } from "./gets.ts";
import { absentError, closedStatus, Pending, type Waiter } from "./pending.ts";
import { notPlain, SmallEnvelopes } from "./plain.ts";
import { LazyRefs, ObjectRef, type RefHome, type RefState } from "./ref.ts";
import { Repeats } from "./repeats.ts";
import {
  type DecodeContext,
  decode,
  type EncodeContext,
  type Encoded,
  encode,
  encodePassing,
  InPlace,
  plainContext,
} from "./serialize.ts";
import { LiveViews } from "./views.ts";

/**
 * How values with handles and functions are encoded and decoded: the api and the worker give it.
 */
export type ValueHooks = Pick<EncodeContext, "handleOf" | "encodeFunction"> &
  Pick<DecodeContext, "makeHandle" | "decodeFunction">;

/** Options of `ObjectStore.open`. */
export interface StoreOptions {
  readonly attach: AttachOptions;
  readonly hooks?: ValueHooks;
  /** Gets every record that is not about waiting for objects; the reader stands on it. */
  readonly onEvent?: (reader: EventReader) => void;
  /** Called after the records of a batch were handled. */
  readonly onBatchEnd?: () => void;
}

/** Largest envelope that is copied through the scratch memory. */
const scratchBytes = 64 * 1024;
/** Bells are rung after so many submissions or replies of one turn. */
const flushEvery = 32;
/** How long a put waits for room: as in Python; less when what is short could be views in use in this process. */
const putWaitMs = 10_000;
const viewsWaitMs = 1000;

/** The store, attached. */
export class ObjectStore implements RefHome {
  readonly native: NativeBinding;
  readonly info: AttachInfo;
  /** For `encode`, `encodeArgs`, `decode`, `decodeArgs`. */
  readonly context: EncodeContext & DecodeContext;
  readonly pending = new Pending();
  readonly collected: FinalizationRegistry<{ readonly handle: number }>;
  readonly #out: Uint32Array;
  readonly #reader: EventReader;
  /** Envelopes in the event buffer, and what `readSmall` or `readMany` gave last. */
  readonly arrivals: SmallEnvelopes;
  readonly reads: SmallEnvelopes;
  /** Whose envelope the current record carries; 0: nobody's. */
  #arrived = 0;
  readonly #onEvent: ((reader: EventReader) => void) | null;
  readonly #onBatchEnd: (() => void) | null;
  readonly #views = new LiveViews();
  readonly repeats = new Repeats();
  readonly #scratch = new Uint8Array(scratchBytes);
  /** The object whose value is being decoded; 0: none (arguments). */
  #container = 0;
  /** Handles whose error was given to somebody. */
  readonly #seenErrors = new Set<number>();
  #flushDue = false;
  #unflushed = 0;
  #holds = 0;
  #alive = false;
  #closed = false;
  readonly #flush = (): void => {
    this.#flushDue = false;
    this.#unflushed = 0;
    if (!this.#closed) this.native.flush();
  };

  private constructor(native: NativeBinding, options: StoreOptions) {
    this.native = native;
    this.#onEvent = options.onEvent ?? null;
    this.#onBatchEnd = options.onBatchEnd ?? null;
    const attach = { ...options.attach, collect: collectGarbage };
    this.info = native.attach(attach, (bytes, extras) => this.#sink(bytes, extras));
    this.#out = this.info.out;
    this.#reader = new EventReader(this.info);
    this.arrivals = new SmallEnvelopes(this.info.events);
    this.reads = new SmallEnvelopes(this.info.reads);
    this.collected = new Collected(native, this).registry;
    const hooks = options.hooks ?? plainContext;
    this.context = {
      refIdOf: (value) =>
        value instanceof ObjectRef && ObjectRef.handleOf(value) !== 0 ? value.id : null,
      handleOf: (value) => hooks.handleOf(value),
      encodeFunction: (fn) => hooks.encodeFunction(fn),
      makeRef: (id) => this.importRef(id),
      makeRefs: (ids) => {
        if (this.#container === 0) return null;
        this.native.retainHandle(this.#container);
        return new LazyRefs(this, this.#container, ids.slice());
      },
      makeHandle: (meta, ref) => hooks.makeHandle(meta, ref),
      decodeFunction: (payload) => hooks.decodeFunction(payload),
    };
  }

  /** Attaches this environment. */
  static open(native: NativeBinding, options: StoreOptions): ObjectStore {
    return new ObjectStore(native, options);
  }

  get isOpen(): boolean {
    return !this.#closed && this.native.isAttached();
  }

  /** Detaches. Pending gets are rejected with `reason`. */
  close(reason: PolyrayError = makeError("CLOSED", "the runtime was shut down")): void {
    if (this.#closed) return;
    this.#closed = true;
    const waiting = this.pending.handles();
    this.closeReason ??= reason;
    this.native.detach();
    for (const handle of waiting) this.pending.settle(handle, closedStatus);
    this.#views.clear();
  }

  /** Why the store is closed; null while it is open. */
  closeReason: PolyrayError | null = null;

  /** Asked before a ref's handle is given back (workers): true keeps it. */
  keepsHandle: ((handle: number) => boolean) | null = null;

  // --- refs

  /** A ref that takes over one count of the handle. */
  refOf<T = unknown>(handle: number): ObjectRef<T> {
    return new ObjectRef<T>(this, handle);
  }

  /** The ref of an id inside a value: when the object is gone, a ref whose `get` fails. */
  importRef(id: string): ObjectRef {
    return new ObjectRef(this, this.native.handleOfId(id), id);
  }

  /**
   * The ref of an id that a program names. Throws ObjectFreedError when the object is gone or was
   * never known here.
   */
  refOfId(id: string): ObjectRef {
    const handle = this.native.handleOfId(id);
    if (handle === 0) throw makeError("OBJECT_FREED", `no object ${id} is known`);
    return new ObjectRef(this, handle, id);
  }

  dropRef(handle: number): void {
    if (this.#closed) return;
    if (this.keeps(handle) || this.native.releaseHandle(handle)) this.ended(handle);
  }

  keeps(handle: number): boolean {
    return this.keepsHandle?.(handle) === true;
  }

  // The number may name another object later.
  ended(handle: number): void {
    this.#views.forget(handle);
    this.#seenErrors.delete(handle);
    this.pending.settle(handle, ObjectStatus.gone);
  }

  acquire(bytes: Uint8Array, offset: number): number {
    this.#check();
    this.native.importIds(bytes, offset, 1);
    return this.#out[0] as number;
  }

  /** Whether the object is settled. One that is not is watched from now on. */
  isSettled(state: RefState): boolean {
    if (state.settled || state.watched) return state.settled;
    this.#check();
    if (this.native.subscribe(state.handle, false) === ObjectStatus.pending) {
      state.watched = true;
      this.pending.add(state.handle, state);
    } else state.settled = true;
    return state.settled;
  }

  // A failure that nobody saw is told once.
  failed(handle: number): void {
    if (!this.#seenErrors.has(handle)) tellUnseen(this.native, handle, this.context);
    if (this.native.releaseHandle(handle)) this.ended(handle);
  }

  idOf(handle: number): string {
    return this.native.idOf(handle);
  }

  // --- values in

  encode(value: unknown, name = "value"): Encoded {
    return encode(value, this.context, name);
  }

  /** Stores a value. Waits for room for some seconds, then throws ObjectStoreFullError. */
  put<T>(value: T): ObjectRef<T> {
    this.#check();
    const encoded = encodePassing(value, this.context, "value");
    const inVain = this.#views.bytes >= encoded.size && encoded.size > scratchBytes;
    try {
      return this.refOf<T>(this.putEncoded(encoded, inVain ? viewsWaitMs : putWaitMs));
    } catch (error) {
      if (inVain && error instanceof PolyrayError && error.code === "OBJECT_STORE_FULL")
        error.message += ` This process has read ${this.#views.bytes} bytes without a copy; memory of views that are in use, or were read in this turn of the event loop, cannot come back while a synchronous put waits: use \`await putAsync(value)\`, or release(view) first.`;
      throw error;
    }
  }

  /** As `put`, waiting for room without blocking, `timeoutMs` at most. */
  async putAsync<T>(value: T, timeoutMs = 60_000): Promise<ObjectRef<T>> {
    this.#check();
    const encoded = this.encode(value);
    const end = Date.now() + timeoutMs;
    for (let delayMs = 5; ; delayMs = Math.min(delayMs * 2, 200)) {
      try {
        return this.refOf<T>(this.putEncoded(encoded, 0));
      } catch (error) {
        if (
          !(error instanceof PolyrayError) ||
          error.code !== "OBJECT_STORE_FULL" ||
          Date.now() >= end
        )
          throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      this.#check();
    }
  }

  /** Stores an envelope; returns a handle with one count. flags: EntryFlag. */
  putEncoded(encoded: Encoded | InPlace, waitMs = putWaitMs, flags = 0): number {
    const native = this.native;
    if (encoded instanceof InPlace) {
      this.flushSoon();
      return native.putSmall(encoded.bytes, encoded.size, null, flags);
    }
    if (encoded.size <= scratchBytes) {
      encoded.writeTo(this.#scratch);
      this.flushSoon();
      return native.putSmall(this.#scratch, encoded.size, envelopeRefs, flags);
    }
    const { parts, offsets } = encoded.pieces();
    this.flushSoon();
    return native.putParts(encoded.size, parts, offsets, envelopeRefs, flags, waitMs);
  }

  /**
   * The args of a call: bytes, valid until the next call of this store (the length is
   * `encoded.size`), or, for big ones, the handle of the object that they were put as (the length
   * is 0). The caller gives that handle back by `unstage`, whatever happens.
   */
  stage(encoded: Encoded | InPlace): Uint8Array | number {
    if (encoded instanceof InPlace) return encoded.bytes;
    return encoded.size > scratchBytes ? this.putEncoded(encoded) : this.#staged(encoded);
  }

  /** Ends `stage`: the call has a reference of its own. */
  unstage(staged: Uint8Array | number): void {
    if (typeof staged === "number") this.native.releaseHandle(staged);
  }

  #staged(encoded: Encoded): Uint8Array {
    encoded.writeTo(this.#scratch);
    return this.#scratch;
  }

  /** Seals return `index` of an incoming call. False: somebody sealed it before. */
  sealReturn(call: number, index: number, encoded: Encoded, isError: boolean): boolean {
    const native = this.native;
    this.flushSoon();
    if (encoded.size <= scratchBytes)
      return native.returnSmall(
        call,
        index,
        this.#staged(encoded),
        encoded.size,
        envelopeRefs,
        isError,
      );
    const { parts, offsets } = encoded.pieces();
    return native.returnParts(call, index, encoded.size, parts, offsets, envelopeRefs, isError);
  }

  /** Seals the only return of an incoming call and replies (ReplyStatus ok, error or cancelled). */
  replyWith(call: number, encoded: Encoded | InPlace, status: number): void {
    this.flushSoon();
    if (encoded instanceof InPlace) {
      this.native.returnAndReply(call, encoded.bytes, encoded.size, null, status);
      return;
    }
    if (encoded.size <= scratchBytes) {
      this.native.returnAndReply(call, this.#staged(encoded), encoded.size, envelopeRefs, status);
      return;
    }
    this.sealReturn(call, 0, encoded, status !== 0);
    this.native.reply(call, status);
  }

  // --- values out

  /**
   * The value of a ref. Rejects with the stored error, GetTimeoutError, the signal's reason, or why
   * there is no value.
   */
  get<T>(ref: ObjectRef<T>, options: WaitOptions | null = null): Promise<T> {
    try {
      const handle = ObjectRef.handleOf(ref);
      const value = this.#now(handle, ref, true);
      if (value === pending) return new OneGet<T>(this, ref, handle, options).promise;
      return Promise.resolve(value as T);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The values of many refs, in order. Rejects with the first error. */
  getAll(
    refs: readonly ObjectRef<unknown>[],
    options: WaitOptions | null = null,
  ): Promise<unknown[]> {
    try {
      this.#check();
      return new ManyGet(this, refs, options).promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Waits until `numReturns` of the refs are settled, or the time is over. Order is kept. */
  wait<R extends ObjectRef<unknown>>(
    refs: readonly R[],
    numReturns: number,
    options: WaitOptions | null = null,
  ): Promise<{ ready: R[]; notReady: R[] }> {
    try {
      this.#check();
      return new WaitSome<R>(this, refs, numReturns, options).promise;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Blocks the thread until the value is there. */
  getSync<T>(ref: ObjectRef<T>, timeoutMs = -1): T {
    const handle = ObjectRef.handleOf(ref);
    let value = this.#now(handle, ref, false);
    if (value === pending) {
      if (this.native.waitSync(Uint32Array.of(handle), 1, timeoutMs) === 0) {
        if (!this.native.isAttached())
          throw makeError("LOCAL_RAYLET_DIED", "the runtime ended while the value was waited for");
        throw makeError("GET_TIMEOUT", `${ref.id} was not ready within ${timeoutMs} ms`);
      }
      value = this.#now(handle, ref, false);
      if (value === pending) throw absentError(ObjectStatus.pending, ref.id, this.closeReason);
    }
    return value as T;
  }

  /** The value when it is sealed, else undefined; throws the stored error. */
  peek(ref: ObjectRef<unknown>): { readonly value: unknown } | undefined {
    const status = this.status(ref);
    if (status !== ObjectStatus.sealed && status !== ObjectStatus.error) return undefined;
    return { value: this.#now(ObjectRef.handleOf(ref), ref, false) };
  }

  /** ObjectStatus of a ref. */
  status(ref: ObjectRef<unknown>): number {
    return this.native.status(ObjectRef.handleOf(ref));
  }

  /** Bytes of the object's envelope; 0 while it is pending. */
  sizeOf(ref: ObjectRef<unknown>): number {
    return this.native.objectSize(ObjectRef.handleOf(ref));
  }

  /**
   * Takes the value of a ref away from everybody, unless it is pending. False: it is pending. Later
   * reads throw ObjectFreedError.
   */
  freeObject(ref: ObjectRef<unknown>): boolean {
    const handle = ObjectRef.handleOf(ref);
    this.#views.forget(handle);
    this.flushSoon();
    return this.native.freeObject(handle);
  }

  /** What is known of an object without reading it. */
  infoOf(ref: ObjectRef<unknown>): NativeObjectInfo {
    return this.native.objectInfo(ObjectRef.handleOf(ref));
  }

  /**
   * Ends the pin of a zero-copy value now: the view, its ArrayBuffer, or the value that `get` gave.
   * Its ArrayBuffer is detached.
   * False when there is nothing of the store behind it.
   */
  release(value: object): boolean {
    const buffer = this.#views.bufferOf(value);
    return buffer !== null && this.native.releaseView(buffer);
  }

  // --- turns

  /** Rings the bells of this turn at its end, and now and then before. Call it after every submission. */
  flushSoon(): void {
    // In a long turn the other side starts on what is there already.
    if (++this.#unflushed >= flushEvery) {
      this.#unflushed = 0;
      this.native.flush();
    }
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(this.#flush);
  }

  /** Keeps the event loop alive until the matching `unhold` (streams, requests, workers). */
  hold(): void {
    this.#holds++;
    this.keepAlive();
  }

  unhold(): void {
    this.#holds--;
    this.keepAlive();
  }

  /** Adjusts the event source to whether anybody waits. */
  keepAlive(): void {
    const alive = this.#holds > 0 || this.pending.size > 0;
    if (alive === this.#alive || this.#closed) return;
    this.#alive = alive;
    this.native.setRef(alive);
  }

  // --- for gets.ts

  /** REQUIRES: the store is subscribed to the handle, which is pending. `awaited` follows, once for all. */
  addWaiter(handle: number, waiter: Waiter): void {
    this.pending.add(handle, waiter);
  }

  awaited(): void {
    this.keepAlive();
    this.flushSoon();
  }

  removeWaiter(handle: number, waiter: Waiter): void {
    if (this.pending.remove(handle, waiter) && !this.#closed) this.native.unsubscribe(handle);
    this.keepAlive();
  }

  /** The value of a settled object, or throws. */
  valueOf(handle: number, status: number, ref: ObjectRef<unknown>): unknown {
    if (handle === this.#arrived && status !== ObjectStatus.gone) {
      const reader = this.#reader;
      const length = reader.word(Rec.payloadBytes);
      return this.#small(this.arrivals, reader.payloadStart, length, handle, status);
    }
    if (status === ObjectStatus.sealed || status === ObjectStatus.error) {
      const bytes = this.#read(handle);
      if (bytes !== null) return this.value(handle, bytes, this.#out[0] as number);
      status = this.#out[0] as number;
    }
    throw absentError(status, status === closedStatus ? "" : ref.id, this.closeReason);
  }

  // --- inside

  #check(): void {
    if (this.#closed) throw this.closeReason ?? makeError("CLOSED", "the runtime was shut down");
  }

  // The value, or `pending`: then the store is subscribed when `wait` says so. Throws as `get` rejects.
  #now(handle: number, ref: ObjectRef<unknown>, wait: boolean): unknown {
    this.#check();
    const live = this.#views.read(handle); // also when the node is gone
    if (live !== null) return this.value(handle, live, ObjectStatus.sealed);
    const length = this.native.readSmall(handle, wait);
    const status = this.#out[0] as number;
    if (length >= 0) return this.#small(this.reads, 0, length, handle, status);
    return status === ObjectStatus.pending ? pending : this.valueOf(handle, status, ref);
  }

  #read(handle: number): Uint8Array | null {
    const live = this.#views.read(handle);
    if (live !== null) {
      this.#out[0] = ObjectStatus.sealed;
      return live;
    }
    const bytes = this.native.read(handle, false);
    if (bytes !== null && this.#out[1] === 1 && this.#out[0] === ObjectStatus.sealed)
      this.#views.add(handle, bytes.buffer as ArrayBuffer);
    return bytes;
  }

  #small(
    from: SmallEnvelopes,
    start: number,
    length: number,
    handle: number,
    status: number,
  ): unknown {
    const value = status === ObjectStatus.error ? notPlain : from.value(start, length);
    if (value !== notPlain) return value;
    return this.value(handle, from.copy(start, length), status);
  }

  /** The value of an envelope in memory of its own; a stored error is thrown. */
  value(handle: number, bytes: Uint8Array, status: number): unknown {
    this.#container = handle;
    let value: unknown;
    try {
      value = decode(bytes, this.context);
    } finally {
      this.#container = 0;
    }
    if (status === ObjectStatus.error) {
      this.#seenErrors.add(handle);
      throw value;
    }
    if (bytes.length >= this.info.zeroCopyBytes && typeof value === "object" && value !== null)
      this.#views.decoded(handle, value, bytes);
    return value;
  }

  #sink(bytes: number, extras: readonly Uint8Array[] | null): void {
    const reader = this.#reader;
    reader.begin(bytes, extras);
    while (reader.next()) {
      const kind = reader.kind;
      if (kind === EventKind.objectReady) {
        const handle = reader.word(Rec.handle);
        this.#arrived = reader.word(Rec.hasValue) === 1 ? handle : 0;
        this.pending.settle(handle, reader.word(Rec.status));
        this.#arrived = 0;
      } else if (kind === EventKind.objectGone) {
        this.pending.settle(reader.word(Rec.handle), ObjectStatus.gone);
      } else {
        this.#event(reader);
      }
      if (this.#closed) return;
    }
    this.keepAlive();
    this.#onBatchEnd?.();
  }

  // A fault of one handler must not lose the other records.
  #event(reader: EventReader): void {
    if (reader.kind === EventKind.shutdown) this.#failAll();
    try {
      this.#onEvent?.(reader);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #failAll(): void {
    this.closeReason = makeError("LOCAL_RAYLET_DIED", "the runtime ended");
    for (const handle of this.pending.handles()) this.pending.settle(handle, closedStatus);
  }
}

/** In place of a value that is not there yet. */
const pending = Symbol("pending");
