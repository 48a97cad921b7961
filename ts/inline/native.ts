// SPDX-License-Identifier: Apache-2.0
// The native contract (ts/native/binding.ts) inside of one process: objects, calls and workers of an inline runtime. All of
// the api and the executor of the workers run on it unchanged, so that a program behaves as it does over processes.
//
// Nothing here is shared memory: a read gives a copy, as another process would see it.

import { makeError } from "../base/errors.ts";
import { writeId } from "../base/ids.ts";
import {
  ActorPhase,
  type AttachInfo,
  type AttachOptions,
  EventKind,
  type EventSink,
  type NativeBinding,
  notRead,
  ObjectStatus,
  Rec,
  Released,
  type SpecOptions,
} from "../native/binding.ts";
import { Calls, type InlineActor, type InlineWorker } from "./calls.ts";
import { Objects } from "./objects.ts";
import { Records } from "./records.ts";

/** What the node service does, behind `serviceRequest`. */
export interface InlineService {
  request(payload: Uint8Array): Promise<Uint8Array>;
  /** The answer, when it is there at once. */
  requestNow(payload: Uint8Array): Uint8Array | null;
  actorGone(id: string): void;
}

/** What InlineNative asks of its starter. */
export interface InlineHooks {
  readonly makeWorker: (actor: InlineActor | null) => InlineWorker;
  readonly beforeStart: (specHandle: number) => void;
}

const readsAtOnce = 1024;

export class InlineNative implements Partial<NativeBinding> {
  readonly version = "inline";
  readonly #hooks: InlineHooks;
  readonly #total: Readonly<Record<string, number>>;
  readonly #specs = new Map<number, SpecOptions>();
  readonly #puts = new Map<
    number,
    { bytes: Uint8Array; seal: ((isError: boolean) => boolean) | null }
  >();
  readonly #views = new WeakSet<ArrayBuffer>();
  readonly #out = new Uint32Array(128);
  readonly #reads = new Uint32Array(readsAtOnce * 2);
  /** Set by the starter, before anything is asked. */
  service!: InlineService;
  objects!: Objects;
  records!: Records;
  calls!: Calls;
  #attached = false;
  #last = 0;
  #alive: NodeJS.Timeout | null = null;

  constructor(total: Readonly<Record<string, number>>, hooks: InlineHooks) {
    this.#total = total;
    this.#hooks = hooks;
  }

  // --- endpoint

  attach(_options: AttachOptions, sink: EventSink): AttachInfo {
    this.records = new Records(sink);
    const nodeTag = 1 + Math.floor(Math.random() * 0x7ffffffe);
    this.objects = new Objects(
      nodeTag,
      (entry) =>
        this.records.post(() =>
          entry.handles > 0
            ? {
                kind: EventKind.objectReady,
                words: { [Rec.handle]: entry.handle, [Rec.status]: entry.status },
              }
            : null,
        ),
      (entry) => {
        this.calls.forgetActor(entry);
        this.service.actorGone(entry.id);
      },
    );
    const { makeWorker, beforeStart } = this.#hooks;
    this.calls = new Calls(this.objects, this.records, this.#total, makeWorker, beforeStart);
    this.#attached = true;
    return {
      endpoint: 1,
      serial: 1,
      nodeTag,
      job: 1,
      events: this.records.buffer,
      out: this.#out,
      reads: this.#reads.buffer,
      smallValueBytes: 0,
      zeroCopyBytes: Number.MAX_SAFE_INTEGER,
      externalBuffers: false,
    };
  }

  detach(): void {
    this.#attached = false;
    this.records.closed = true;
    this.setRef(false);
  }

  isAttached(): boolean {
    return this.#attached;
  }

  setRef(keepAlive: boolean): void {
    if (keepAlive && this.#alive === null) this.#alive = setInterval(() => undefined, 2 ** 31 - 1);
    else if (!keepAlive && this.#alive !== null) {
      clearInterval(this.#alive);
      this.#alive = null;
    }
  }

  flush(): void {}

  pump(): number {
    let count = 0;
    while (this.records.pump()) count++;
    return count;
  }

  counters(): ReturnType<NativeBinding["counters"]> {
    return { liveViewBytes: 0, liveHandles: this.objects.size } as ReturnType<
      NativeBinding["counters"]
    >;
  }

  // --- handles

  releaseHandle(handle: number): boolean {
    return this.objects.release(handle);
  }

  releaseHandles(handles: Uint32Array, count: number): void {
    for (let i = 0; i < count; i++) {
      const handle = handles[i] as number;
      const status = this.objects.statusOf(handle);
      if (status === undefined) handles[i] = Released.counts;
      else if (status === ObjectStatus.error) handles[i] = Released.failed;
      else handles[i] = this.releaseHandle(handle) ? Released.last : Released.counts;
    }
  }

  retainHandle(handle: number): void {
    this.objects.of(handle).handles++;
  }

  idOf(handle: number): string {
    return this.objects.of(handle).id;
  }

  writeIds(handles: Uint32Array, target: Uint8Array, offset: number): void {
    handles.forEach((handle, index) => {
      writeId(this.idOf(handle), target, offset + 16 * index);
    });
  }

  handleOfId(id: string): number {
    const entry = this.objects.byId(id);
    if (entry === undefined) return 0;
    entry.handles++;
    return entry.handle;
  }

  importIds(bytes: Uint8Array, offset: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const from = offset + 16 * i;
      this.#out[i] = this.handleOfId(Buffer.from(bytes.subarray(from, from + 16)).toString("hex"));
    }
  }

  createActorObject(): number {
    return this.objects.make().handle;
  }

  // --- objects

  putSmall(bytes: Uint8Array, length: number, _refs: unknown, flags: number): number {
    const entry = this.objects.make();
    this.objects.seal(entry, copyOf(bytes, length), (flags & (1 << 9)) !== 0);
    return entry.handle;
  }

  putParts(size: number, parts: readonly Uint8Array[], offsets: Float64Array): number {
    const bytes = new Uint8Array(size);
    parts.forEach((part, index) => {
      bytes.set(part, offsets[index] ?? 0);
    });
    return this.putSmall(bytes, size, null, 0);
  }

  putBegin(size: number): Uint8Array {
    return this.#open(size, null);
  }

  putSeal(put: number, _refs: unknown, flags: number): number {
    const { bytes } = this.#taken(put);
    return this.putSmall(bytes, bytes.length, null, flags);
  }

  putAbort(put: number): void {
    this.#puts.delete(put);
  }

  status(handle: number): number {
    return this.objects.of(handle).status;
  }

  subscribe(handle: number, _wantValue: boolean): number {
    const entry = this.objects.of(handle);
    if (entry.status === ObjectStatus.pending) entry.isWanted = true;
    return entry.status;
  }

  unsubscribe(handle: number): void {
    this.objects.of(handle).isWanted = false;
  }

  read(handle: number, subscribeIfPending: boolean): Uint8Array | null {
    const entry = this.objects.of(handle);
    this.#out[0] = entry.status;
    this.#out[1] = 0;
    if (entry.bytes === null) {
      if (subscribeIfPending && entry.status === ObjectStatus.pending) entry.isWanted = true;
      return null;
    }
    const copy = entry.bytes.slice();
    this.#views.add(copy.buffer);
    return copy;
  }

  /** Nothing is small here: the status only. */
  readSmall(handle: number, subscribeIfPending: boolean): number {
    this.#out[0] = subscribeIfPending ? this.subscribe(handle, true) : this.status(handle);
    return -1;
  }

  readMany(handles: Uint32Array, from: number): number {
    const end = Math.min(handles.length, from + readsAtOnce);
    for (let i = from; i < end; i++) {
      this.#reads[2 * (i - from)] = this.subscribe(handles[i] as number, true);
      this.#reads[2 * (i - from) + 1] = notRead;
    }
    return end;
  }

  releaseView(buffer: ArrayBuffer): boolean {
    if (!this.#views.delete(buffer)) return false;
    structuredClone(buffer, { transfer: [buffer] });
    return true;
  }

  objectSize(handle: number): number {
    return this.objects.of(handle).bytes?.length ?? 0;
  }

  /** Runs what is due until so many are settled. What needs a turn of the event loop cannot be waited for. */
  waitSync(handles: Uint32Array, needed: number, _timeoutMs: number): number {
    const settled = (): number =>
      handles.reduce(
        (sum, handle) => sum + (this.status(handle) === ObjectStatus.pending ? 0 : 1),
        0,
      );
    while (settled() < needed) {
      if (!this.records.pump())
        throw makeError(
          "INVALID_ARGUMENT",
          'getSync cannot wait for async functions with init({ mode: "inline" }): there is one thread. Use await get()',
        );
    }
    return settled();
  }

  // --- submitting

  registerSpec(options: SpecOptions): number {
    this.objects.of(options.spec).holds++;
    const number = ++this.#last;
    this.#specs.set(number, options);
    return number;
  }

  submitTask(
    spec: number,
    args: Uint8Array | number,
    length: number,
    _refs: unknown,
    _topRefs: number,
    returnCount: number,
    flags: number,
    maxRetries: number,
    timeoutMs: number,
  ): number | number[] {
    const options = this.#specs.get(spec) as SpecOptions;
    const call = this.calls.task(
      options,
      this.#argsOf(args, length),
      returnCount,
      flags,
      maxRetries,
    );
    this.calls.limit(call, timeoutMs);
    return handlesOf(call.returns);
  }

  submitActorCall(
    actor: number,
    method: string,
    args: Uint8Array | number,
    length: number,
    _refs: unknown,
    _topRefs: number,
    returnCount: number,
    flags: number,
    maxRetries: number,
    timeoutMs: number,
  ): number | number[] {
    const of = this.calls.actorOf(this.objects.of(actor));
    const bytes = this.#argsOf(args, length);
    const call = this.calls.method(of, method, bytes, returnCount, flags, maxRetries);
    this.calls.limit(call, timeoutMs);
    return handlesOf(call.returns);
  }

  // Args that were put are read from their object.
  #argsOf(args: Uint8Array | number, length: number): Uint8Array {
    if (typeof args === "number") return this.objects.of(args).bytes?.slice() ?? new Uint8Array(0);
    return copyOf(args, length);
  }

  setActorState(
    actor: number,
    phase: number,
    peer: number,
    _serial: number,
    incarnation: number,
    maxTaskRetries: number,
    error: Uint8Array | null,
  ): void {
    const of = this.calls.actorOf(this.objects.of(actor));
    of.maxTaskRetries = maxTaskRetries;
    const worker = phase === ActorPhase.alive ? (this.workers.get(peer) ?? null) : null;
    this.calls.setActor(of, phase, worker, incarnation, error);
  }

  /** Workers of actors by their number. */
  readonly workers = new Map<number, InlineWorker>();

  actorPhase(actor: number): number {
    return this.calls.actorOf(this.objects.of(actor)).phase;
  }

  actorPendingCalls(actor: number): number {
    const of = this.calls.actorOf(this.objects.of(actor));
    return of.queue.length + of.sent.size;
  }

  cancel(task: number, force: boolean, recursive: boolean, error: Uint8Array): boolean {
    return this.calls.cancel(this.objects.of(task), force, recursive, error);
  }

  callPeer(): number {
    return 0;
  }

  streamConsumed(task: number, items: number): void {
    const entry = this.objects.of(task);
    const call = this.calls.callOf(entry.id);
    if (call === undefined) return;
    this.records.post(() => ({
      kind: EventKind.streamCredit,
      words: { [Rec.a]: items, [Rec.b0]: call.number },
      id: entry.id,
    }));
  }

  // --- service

  serviceRequest(payload: Uint8Array): number {
    const request = ++this.#last;
    void this.service.request(payload).then((answer) =>
      this.records.post(() => ({
        kind: EventKind.serviceAnswer,
        words: { [Rec.a]: request },
        payload: answer,
      })),
    );
    return request;
  }

  serviceCall(payload: Uint8Array): Uint8Array | null {
    return this.service.requestNow(payload);
  }

  // --- executing

  returnSmall(
    number: number,
    index: number,
    bytes: Uint8Array,
    length: number,
    _refs: unknown,
    isError: boolean,
  ): boolean {
    const entry = this.calls.byNumber.get(number)?.returns[index];
    return entry !== undefined && this.objects.seal(entry, copyOf(bytes, length), isError);
  }

  returnBegin(call: number, index: number, size: number): Uint8Array {
    return this.#open(size, (isError) => {
      const entry = this.calls.byNumber.get(call)?.returns[index];
      const bytes = this.#sealing as Uint8Array;
      return entry !== undefined && this.objects.seal(entry, bytes, isError);
    });
  }

  #sealing: Uint8Array | null = null;

  returnSeal(put: number, _refs: unknown, isError: boolean): boolean {
    const { bytes, seal } = this.#taken(put);
    this.#sealing = bytes;
    return seal?.(isError) ?? false;
  }

  reply(call: number, status: number): void {
    this.calls.reply(call, status);
  }

  returnAndReply(
    call: number,
    bytes: Uint8Array,
    length: number,
    refs: unknown,
    status: number,
  ): boolean {
    const isFirst = this.returnSmall(call, 0, bytes, length, refs, status !== 0);
    this.reply(call, status);
    return isFirst;
  }

  streamItem(number: number, index: number, item: number): void {
    const call = this.calls.byNumber.get(number);
    const task = call?.returns[0];
    if (task === undefined || task.handles === 0) return;
    const entry = this.objects.of(item);
    entry.handles++;
    this.records.post(() => ({
      kind: EventKind.streamItem,
      words: { [Rec.handle]: task.handle, [Rec.a]: index, [Rec.handle2]: entry.handle },
    }));
  }

  setActorIdentity(): void {}

  gcDone(): void {}

  #open(size: number, seal: ((isError: boolean) => boolean) | null): Uint8Array {
    const put = ++this.#last;
    const bytes = new Uint8Array(size);
    this.#puts.set(put, { bytes, seal });
    this.#out[0] = put;
    return bytes;
  }

  #taken(put: number) {
    const found = this.#puts.get(put);
    if (found === undefined) throw makeError("CLOSED", "the put was sealed or given up");
    this.#puts.delete(put);
    return found;
  }
}

// Not by slice(), which gives a view of a Buffer.
function copyOf(bytes: Uint8Array, length: number): Uint8Array {
  return new Uint8Array(bytes.subarray(0, length));
}

function handlesOf(entries: readonly { readonly handle: number }[]): number | number[] {
  return entries.length === 1
    ? (entries[0] as { handle: number }).handle
    : entries.map((one) => one.handle);
}
