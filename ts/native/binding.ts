// SPDX-License-Identifier: Apache-2.0
// The whole native contract: every function of polyray.node, in the order in which C++ registers
// them (tested).
//
// Plain data only: numbers, strings, Uint8Array, Uint32Array; `null` for absent; every field present.
// One JS environment (main thread or worker_thread) = one client endpoint; nothing here is shared between environments,
// except what `startRaylet` and `setRuntimeNote` keep for the process.
// Invariants:
//  1. A *handle* (a positive number below 2^31) names an object in this environment. Each function that returns a handle gives
//     the caller one count of it; `releaseHandle` takes one back. A handle whose counts are gone, or that an earlier attach
//     made, is refused with OBJECT_FREED (numbers carry a generation).
//  2. Functions that fail throw what the error factory makes of (code of proto/errors.json, message, errno): PolyrayErrors by
//     load.ts.
//  3. Nothing rings a bell before `flush()`. Call it once per turn (queueMicrotask); `waitSync` and the event pump flush by
//     themselves.
//  4. Byte arguments come as (bytes, length): only bytes[0..length) is read, so a caller can reuse one scratch buffer.
//  5. `out` (a Uint32Array of the attach answer) carries second results, as each function says; it is overwritten by the next
//     call.

import type { NativeCounters, RayletStats } from "./stats.ts";

/** State of an object as `status`, `subscribe`, `read` tell it. */
export const ObjectStatus = { pending: 0, sealed: 1, error: 2, gone: 3, spilled: 4 } as const;
/** What became of a handle that `releaseHandles` was given: counts are left, none is left, or nothing: its object failed. */
export const Released = { counts: 0, last: 1, failed: 2 } as const;
/** In `reads`: the envelope is not here. */
export const notRead = 0xffffffff;
/** Endpoint kinds for `attach`. */
export const EndpointKind = { service: 2, driver: 3, worker: 4, client: 5 } as const;
/** Languages on the wire. */
export const Language = { ts: 1, py: 2 } as const;
/** What a reply says; `retry`, `returned` leave the returns unsealed. */
export const ReplyStatus = { ok: 0, error: 1, retry: 2, returned: 3, cancelled: 4 } as const;
/** Phases of an actor for `setActorState`. */
export const ActorPhase = { unknown: 0, pending: 1, alive: 2, restarting: 3, dead: 4 } as const;
export type ActorPhase = (typeof ActorPhase)[keyof typeof ActorPhase];
/** Kinds of an incoming call. */
export const CallKind = { task: 1, actorCreate: 2, actorCall: 3 } as const;
/** Flags of calls (submit and incoming). */
export const CallFlag = {
  streaming: 1,
  argsInStore: 2,
  retryExceptions: 4,
  unordered: 8,
  hasOptions: 0x100,
} as const;
/** Bits of field a of a `cancel` event. */
export const CancelFlag = { force: 1, notRecursive: 2, timeout: 4 } as const;
/** Flags of a lease (registerSpec). */
export const LeaseFlag = { dedicated: 1 } as const;
/** Flags of an object's entry, for the put functions. */
export const EntryFlag = { error: 1 << 9, keep: 1 << 13 } as const;
/** Commands of the node service to the raylet; `prestart` also of an embedding driver. */
export const RayletOp = {
  workerFailed: 1,
  workerStarted: 2,
  killEndpoint: 3,
  endJob: 4,
  workerExited: 5,
  watchLeases: 6,
  endForMemory: 7,
  groupAdd: 20,
  groupRemove: 21,
  prestart: 45,
} as const;
/** As `refs`: the ids (and how many of them are top-level) stand in the envelope's own table. */
export const envelopeRefs = -1;
/**
 * The ids inside some bytes, as a container counts them: handles, null for none, or `envelopeRefs`
 * (then a `topRefs` argument is not
 * looked at). Every one of them must be held by a handle of this environment while the call is
 * made.
 */
export type RefList = Uint32Array | null | typeof envelopeRefs;
/** Operations that arrive on a worker's control socket (event kind `control`, field a). */
export const ControlOp = { kill: 1, interrupt: 2, stackDump: 3, ping: 4 } as const;

/** Kinds of event records (EventKind of client.h; 64 and above are the binding's own). */
export const EventKind = {
  objectReady: 1,
  objectGone: 2,
  call: 3,
  cancel: 4,
  streamItem: 5,
  streamEnd: 6,
  serviceAnswer: 7,
  serviceCall: 8,
  push: 9,
  rayletEvent: 10,
  actorGone: 11,
  peerGone: 12,
  leaseGranted: 13,
  leaseFailed: 14,
  gcRequest: 15,
  shutdown: 16,
  streamCredit: 17,
  control: 64,
} as const;

/**
 * Layout of one event record in the event buffer: u32 words, little-endian, records 8-byte aligned,
 * `words[0]` = bytes of the record.
 * `handle` is the handle of the event's id, with no count of its own (0: this environment has
 * none), except that `streamItem` and
 * `actorGone` say otherwise below. Payload: `payloadBytes` bytes at `payload` when `extra` is 0,
 * else `extras[extra - 1]`, a Uint8Array
 * of its own. What the fields mean by kind:
 * - objectReady: handle, status (sealed | error); hasValue 1: the payload is the envelope, small
 *   enough to be here; else `read(handle)`.
 * - objectGone: handle.
 * - call: a = the call's number (for `reply`), id = its task id, more words in CallRec.
 * - cancel: id = task id; a = CancelFlag bits; payload: the error that the caller gave. The call number, when it still runs here, is in `b0` (0:
 *   unknown).
 * - streamItem: handle = task, a = item number, handle2 = the item (the consumer owns one count).
 *   streamEnd: handle = task.
 * - serviceAnswer: a = request. serviceCall: a = request, peer. push: a = topic. rayletEvent: JSON
 *   payload.
 * - actorGone: id only. peerGone: peer, a = exit code, b0 = signal. leaseGranted: a = request,
 *   peer, b0 = lease. leaseFailed: a = request,
 *   payload JSON {code,message}. streamCredit: id = task, a = items consumed; b0 = the call number
 *   when it runs here. control: a = ControlOp.
 */
export const Rec = {
  bytes: 0,
  kind: 1,
  handle: 2,
  status: 3,
  a: 4,
  b0: 5,
  b1: 6,
  peerEndpoint: 7,
  peerSerial: 8,
  handle2: 9,
  hasValue: 10,
  payloadBytes: 11,
  extra: 12,
  reserved: 13,
  /** First word of the id (4 words). */
  id: 14,
  /** Word where the fixed part ends: the payload, or for `call` the CallRec words. */
  payload: 18,
} as const;

/**
 * More words of a `call` record, from word `Rec.payload` on. After them, at byte 4 * CallRec.end:
 * the method's bytes, padded to 8, and
 * then (when extra is 0) the args envelope of `payloadBytes`. `spec` is a handle that the
 * environment keeps until detach: equal spec,
 * equal number; 0 when it is unknown here. The endpoint holds the call's refs until `reply`; its
 * top-level refs are sealed.
 */
export const CallRec = {
  kind: 18,
  flags: 19,
  spec: 20,
  incarnation: 21,
  attempt: 22,
  retriesLeft: 23,
  returnCount: 24,
  refCount: 25,
  topRefs: 26,
  methodBytes: 27,
  seq0: 28,
  seq1: 29,
  caller: 30,
  /** First word of the actor's id (4 words); the task's id is at Rec.id. */
  actor: 31,
  /** Milliseconds left of its time limit, 0: it has none. */
  leftMs: 35,
  /** Word where the method's bytes start. */
  end: 36,
} as const;

/** Options of `attach`. */
export interface AttachOptions {
  readonly socketName: string;
  readonly token: string;
  /** EndpointKind */
  readonly kind: number;
  /** Decimal text; "0" when absent. */
  readonly startupToken: string;
  /** 0: a new job (drivers); an existing one for worker_threads. */
  readonly job: number;
  readonly sendStdio: boolean;
  /** Collects garbage, now: called when a value waits for room that views nobody uses any more take. */
  readonly collect?: () => void;
}

/** Answer of `attach`. */
export interface AttachInfo {
  readonly endpoint: number;
  readonly serial: number;
  readonly nodeTag: number;
  readonly job: number;
  /** The event records of each batch are here. */
  readonly events: ArrayBuffer;
  /** Second results. */
  readonly out: Uint32Array;
  /** What `readSmall` and `readMany` read; overwritten by the next of them. */
  readonly reads: ArrayBuffer;
  /** Envelopes up to this size come with the objectReady event, and by `readSmall` and `readMany`. */
  readonly smallValueBytes: number;
  /** Envelopes from this size on are read in place. */
  readonly zeroCopyBytes: number;
  /** False where the host forbids external buffers: everything is copied. */
  readonly externalBuffers: boolean;
}

/**
 * Called once per batch: `bytes` of the event buffer are valid until it returns. `extras` holds the
 * big payloads (null: none).
 * Runs as a callback of its own (microtasks run after it).
 */
export type EventSink = (bytes: number, extras: readonly Uint8Array[] | null) => void;

/** Options of `startRaylet`. */
export interface RayletOptions {
  readonly sessionName: string;
  readonly sessionToken: string;
  readonly sessionDir: string;
  readonly guardianPath: string;
  /** 0: random */
  readonly nodeTag: number;
  readonly objectStoreBytes: number;
  /** "" = memfd */
  readonly plasmaDirectory: string;
  /** Existing folders for spilled objects, one a line. "" = the session's own. */
  readonly spillFolders: string;
  /** Fixed-point amounts (limits.resourceUnit) by name. */
  readonly resources: Readonly<Record<string, number>>;
  /** 0: number of CPUs */
  readonly maxIdleWorkers: number;
  readonly workerStartLimit: number;
}

/** What is known of an object without reading it. */
export interface NativeObjectInfo {
  /** ObjectStatus */
  readonly status: number;
  /** Bytes of the envelope; 0 while it is pending. */
  readonly size: number;
  /** False: the value is so small that it lies in its entry. */
  readonly inStore: boolean;
  readonly spilled: boolean;
  readonly freed: boolean;
  /** Processes and containers that hold it. */
  readonly refs: number;
  /** Processes that have its bytes in place. */
  readonly pins: number;
}

/** A spec for `registerSpec`. */
export interface SpecOptions {
  /** Handle of the sealed TaskSpec object; the registration keeps it alive. */
  readonly spec: number;
  /** Language that runs it. */
  readonly language: number;
  /** LeaseFlag */
  readonly leaseFlags: number;
  readonly priority: number;
  /** Fixed-point amounts by name. */
  readonly resources: Readonly<Record<string, number>>;
  /** JSON for the node service; workers are shared only within one key. */
  readonly workerKey: string;
  /** -1: for ever */
  readonly maxRetries: number;
}

/** The addon's exports. Keep the order of native/node_api/addon.cc. */
export interface NativeBinding {
  readonly version: string;
  /**
   * Makes the errors that this environment's functions throw (load.ts sets it). Without one they
   * are Errors with a numeric code.
   */
  setErrorFactory(factory: (code: number, message: string, errno: number) => Error): void;

  // --- process wide
  /**
   * Starts the node's native thread; it stops with this environment, with the process, or by
   * `stopRaylet`. Returns its socket name.
   */
  startRaylet(options: RayletOptions): string;
  /** Ends workers, tells clients, joins. Throws CLOSED when no raylet runs. */
  stopRaylet(graceMs: number): void;
  rayletStats(): RayletStats;
  /**
   * A text (JSON by convention) that every environment of this process can read: how a
   * worker_thread finds the runtime. null clears.
   */
  setRuntimeNote(text: string | null): void;
  runtimeNote(): string | null;

  // --- endpoint
  /** Makes this environment an endpoint. Throws ALREADY_EXISTS when it is one. */
  attach(options: AttachOptions, sink: EventSink): AttachInfo;
  /**
   * Ends the endpoint in order. All handles become invalid; live views become private copies.
   * Throws CLOSED when not attached.
   */
  detach(): void;
  /** False before attach, after detach, in a forked child, and when the raylet is gone. */
  isAttached(): boolean;
  /** Whether the event source keeps the event loop alive. */
  setRef(keepAlive: boolean): void;
  /** Rings the bells of what was submitted since the last flush. */
  flush(): void;
  /**
   * Drains now, in this turn (the sink is called from inside). Returns how many records were
   * delivered.
   */
  pump(): number;
  /**
   * Worker processes: the native control thread (kill ends the process group at once; other
   * operations come as `control` events).
   */
  startControlThread(): void;
  counters(): NativeCounters;

  // --- handles
  /** Takes one count back; true when it was the last one. Unknown handles throw OBJECT_FREED. */
  releaseHandle(handle: number): boolean;
  /**
   * The same for the first `count` of many; in the place of each comes what became of it (Released). Unknown ones are passed
   * over.
   */
  releaseHandles(handles: Uint32Array, count: number): void;
  /** One more count for the caller. */
  retainHandle(handle: number): void;
  /** 32 hex digits. */
  idOf(handle: number): string;
  /** Writes the 16 bytes of each handle's id one after another. */
  writeIds(handles: Uint32Array, target: Uint8Array, offset: number): void;
  /** A handle for an id (one count), or 0 when the object is gone. */
  handleOfId(id: string): number;
  /**
   * The same for `count` ids of 16 bytes each; handles go to out[0..count) (at most 64 at a time).
   */
  importIds(bytes: Uint8Array, offset: number, count: number): void;
  createActorObject(): number;

  // --- objects
  /** One copy, no message. flags: EntryFlag. */
  putSmall(bytes: Uint8Array, length: number, refs: RefList, flags: number): number;
  /**
   * Writes a big envelope from parts: part i goes to offsets[i], gaps are zero. One copy, no
   * external buffer.
   * Throws OBJECT_STORE_FULL after waitMs.
   */
  putParts(
    size: number,
    parts: readonly Uint8Array[],
    offsets: Float64Array,
    refs: RefList,
    flags: number,
    waitMs: number,
  ): number;
  /**
   * Room for `size` bytes as a writable view, valid until the seal detaches it. out[0] = number of
   * the open put.
   */
  putBegin(size: number, waitMs: number): Uint8Array;
  /** Seals; returns the handle. A second seal throws CLOSED. */
  putSeal(put: number, refs: RefList, flags: number): number;
  putAbort(put: number): void;
  status(handle: number): number;
  /**
   * ObjectStatus; `pending` means that one objectReady or objectGone event will come. wantValue:
   * with the envelope when it is small.
   */
  subscribe(handle: number, wantValue: boolean): number;
  /** Drops the wish for an event. */
  unsubscribe(handle: number): void;
  /**
   * The envelope of a sealed object, else null. out[0] = ObjectStatus, out[1] = 1 when the view is
   * zero-copy. With `subscribeIfPending`
   * a pending object is subscribed as by `subscribe(handle, true)`.
   */
  read(handle: number, subscribeIfPending: boolean): Uint8Array | null;
  /**
   * The envelope of a settled object, copied to the start of `reads` when it has at most `smallValueBytes`: its length. -1:
   * it is bigger (then `read`), or there is none. out[0] = ObjectStatus; `subscribeIfPending` as for `read`.
   */
  readSmall(handle: number, subscribeIfPending: boolean): number;
  /**
   * The same for handles[from], handles[from + 1] ..., as many as find room in `reads`; pending ones are subscribed. In
   * `reads` stands for each: ObjectStatus, length (notRead: not here), the envelope, padded to 8 bytes. Returns the place
   * after the last one.
   */
  readMany(handles: Uint32Array, from: number): number;
  /**
   * Detaches the ArrayBuffer of a zero-copy view and unpins at once. False: it is not one of ours
   * (any more).
   */
  releaseView(buffer: ArrayBuffer): boolean;
  objectSize(handle: number): number;
  objectInfo(handle: number): NativeObjectInfo;
  /**
   * Takes the value away from everybody: later reads throw OBJECT_FREED. Bytes that somebody has
   * in place stay until he is done. False: it is not ready yet.
   */
  freeObject(handle: number): boolean;
  /**
   * Blocks this thread until `needed` of the handles are settled or the time is over (-1: for
   * ever); events that arrive meanwhile are
   * delivered later. Returns how many are settled; out[i] for i < 64 is the status of handle i.
   */
  waitSync(handles: Uint32Array, needed: number, timeoutMs: number): number;
  /** For tests: the address of the first byte. */
  addressOf(view: Uint8Array): number;

  // --- submitting. One return: its handle. Several: an array of handles. `args`: an envelope, or
  // (argsLength 0) the handle of an object that it was put as.
  registerSpec(options: SpecOptions): number;
  submitTask(
    spec: number,
    args: Uint8Array | number,
    argsLength: number,
    refs: RefList,
    topRefs: number,
    returnCount: number,
    flags: number,
    maxRetries: number,
    timeoutMs: number,
  ): number | number[];
  submitActorCall(
    actor: number,
    method: string,
    args: Uint8Array | number,
    argsLength: number,
    refs: RefList,
    topRefs: number,
    returnCount: number,
    flags: number,
    maxRetries: number,
    timeoutMs: number,
  ): number | number[];
  setActorState(
    actor: number,
    phase: number,
    peerEndpoint: number,
    peerSerial: number,
    incarnation: number,
    maxTaskRetries: number,
    error: Uint8Array | null,
  ): void;
  actorPhase(actor: number): number;
  actorPendingCalls(actor: number): number;
  /**
   * True: it was queued and is settled with `error` now; false: it runs, and the worker was told.
   * `recursive`: the worker cancels what the call submitted, too.
   */
  cancel(task: number, force: boolean, recursive: boolean, error: Uint8Array): boolean;
  /**
   * Where a call of this environment is now: the endpoint, with its serial in out[0]; 0 when it is
   * not sent or over.
   */
  callPeer(task: number): number;
  streamConsumed(task: number, items: number): void;

  // --- service
  serviceRequest(payload: Uint8Array): number;
  /**
   * The answer to a request made now, blocking this thread; null when it did not come in time.
   * Other events are delivered later.
   */
  serviceCall(payload: Uint8Array, timeoutMs: number): Uint8Array | null;
  serviceReply(
    peerEndpoint: number,
    peerSerial: number,
    request: number,
    payload: Uint8Array,
  ): void;
  /** Both 0xffffffff: to all endpoints. */
  servicePush(peerEndpoint: number, peerSerial: number, topic: number, payload: Uint8Array): void;
  /** A dedicated worker for a registered spec; the answer is leaseGranted or leaseFailed. */
  requestDedicated(spec: number): number;
  /** Rows of native/client/observe.cc, 160 bytes each: 1 tasks, 2 objects, 3 endpoints, 4 holders, 5 runs. */
  observe(what: number): Uint8Array;
  returnLease(lease: number): void;
  submitActorCreate(
    peerEndpoint: number,
    peerSerial: number,
    actor: number,
    incarnation: number,
    spec: number,
    args: Uint8Array,
    argsLength: number,
    refs: RefList,
    topRefs: number,
  ): number;
  rayletCommand(
    op: number,
    b: number | bigint,
    c: number | bigint,
    d: number | bigint,
    payload: Uint8Array | null,
  ): void;

  // --- executing
  workerReady(): void;
  workerExit(): void;
  /**
   * False: somebody sealed this return before. A call number is valid until `reply`; later use
   * throws CLOSED.
   */
  returnSmall(
    call: number,
    index: number,
    bytes: Uint8Array,
    length: number,
    refs: RefList,
    isError: boolean,
  ): boolean;
  returnParts(
    call: number,
    index: number,
    size: number,
    parts: readonly Uint8Array[],
    offsets: Float64Array,
    refs: RefList,
    isError: boolean,
  ): boolean;
  /** As putBegin; out[0] = number of the open return. */
  returnBegin(call: number, index: number, size: number): Uint8Array;
  returnSeal(put: number, refs: RefList, isError: boolean): boolean;
  /** ReplyStatus */
  reply(call: number, status: number): void;
  /** returnSmall of return 0 and reply, in one crossing. */
  returnAndReply(
    call: number,
    bytes: Uint8Array,
    length: number,
    refs: RefList,
    status: number,
  ): boolean;
  streamItem(call: number, number: number, item: number): void;
  /** The running task waits (true) or goes on (false). */
  setBlocked(blocked: boolean): void;
  setActorIdentity(actor: number, incarnation: number): void;
  /** Workers: the GPUs of this worker's lease, a bit each. */
  devices(): bigint;
  gcDone(): void;
}
