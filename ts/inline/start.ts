// SPDX-License-Identifier: Apache-2.0
// A runtime inside of one process and one thread, for debugging: `init({ mode: "inline" })`. Functions are called as they
// are, not as copies sent elsewhere, so breakpoints hold; values are copied as always. The control service and the workers'
// executor are the real ones, over InlineNative.

import { randomBytes } from "node:crypto";
import { hostname, tmpdir } from "node:os";
import { decode as unpack } from "@msgpack/msgpack";
import { userAmounts } from "../base/amounts.ts";
import { PolyrayError } from "../base/errors.ts";
import { idFromBytes } from "../base/ids.ts";
import { Connection, type Executor } from "../core/connection.ts";
import { taskContext } from "../core/task-context.ts";
import { driverKeyBase } from "../core/worker-key.ts";
import { deathEnvelope, readError } from "../gcs/death.ts";
import { MetricsTable, prometheusText } from "../gcs/metrics-table.ts";
import {
  answer,
  answerNow,
  type ConstructOutcome,
  type GcsHost,
  GcsService,
} from "../gcs/service.ts";
import { type ActorRow, type ActorSpec, type Death, heldIds } from "../gcs/state.ts";
import { SyncService } from "../gcs/sync.ts";
import {
  EndpointKind,
  EventKind,
  type NativeBinding,
  ObjectStatus,
  Rec,
} from "../native/binding.ts";
import type { EventReader } from "../native/events.ts";
import { TaskExecutor } from "../worker/executor.ts";
import { loadTarget, type UserFunction, useTargets } from "../worker/load-spec.ts";
import type { InlineActor, InlineWorker } from "./calls.ts";
import { InlineNative, type InlineService } from "./native.ts";
import type { Entry } from "./objects.ts";

type Fields = Record<string, unknown>;
type Peer = bigint;

/** What an inline runtime offers. Amounts in units of limits.resourceUnit. */
export interface InlineOptions {
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly envVars: Readonly<Record<string, string>>;
}

interface VirtualWorker extends InlineWorker {
  readonly executor: TaskExecutor;
}

/** Starts one; its connection is what a driver's would be. */
export function startInline(options: InlineOptions): Connection {
  return new InlineRuntime(options).connection;
}

class InlineRuntime implements InlineService, GcsHost, Executor {
  readonly connection: Connection;
  readonly #native: InlineNative;
  readonly #nodeId = randomBytes(14).toString("hex");
  readonly #gcs: GcsService;
  readonly #sync: SyncService;
  readonly #metrics = new MetricsTable();
  readonly #targets = new Map<string, UserFunction>();
  readonly #workers = new Map<number, VirtualWorker>();
  readonly #keeps: ((handle: number) => boolean)[] = [];
  readonly #leases = new Map<number, Readonly<Record<string, number>>>();
  readonly #held = new Map<string, Entry[]>();
  #last = 1;

  constructor(options: InlineOptions) {
    this.#gcs = new GcsService(this);
    this.#native = new InlineNative(options.resources, {
      makeWorker: (actor) => this.#makeWorker(actor),
      beforeStart: (handle) => loadTarget(this.connection.store, handle),
    });
    this.#native.service = this;
    this.#sync = new SyncService({
      holdObject: (id) => this.#native.handleOfId(idFromBytes(id)),
      dropObject: (handle) => void this.#native.releaseHandle(handle),
    });
    const place = {
      address: "inline",
      nodeId: this.#nodeId,
      sessionDir: tmpdir(),
      sessionId: "inline",
      namespace: options.namespace,
    };
    this.connection = new Connection(
      this.#native as unknown as NativeBinding,
      {
        socketName: "",
        token: "",
        kind: EndpointKind.driver,
        startupToken: "0",
        job: 0,
        sendStdio: false,
      },
      driverKeyBase(0, options.namespace, options.envVars),
      place,
    );
    this.connection.executor = this;
    this.connection.onSpec = (id, target) => {
      if (target.kind === "value") this.#targets.set(id, target.fn as UserFunction);
    };
    useTargets((id) => this.#targets.get(id) ?? null);
    this.connection.store.keepsHandle = (handle) => this.#keeps.some((keeps) => keeps(handle));
    this.#gcs.apply({
      type: "node_joined",
      node: {
        nodeId: this.#nodeId,
        address: "127.0.0.1",
        hostname: hostname(),
        alive: true,
        resources: userAmounts(options.resources),
        labels: options.labels,
      },
    });
  }

  // --- Executor: which virtual worker it is about

  onEvent(reader: EventReader): void {
    const number = reader.kind === EventKind.call ? reader.word(Rec.a) : reader.word(Rec.b0);
    const call = this.#native.calls.byNumber.get(number);
    if (call?.worker != null) this.#workers.get(call.worker.number)?.executor.onEvent(reader);
  }

  block(): () => void {
    return this.#current()?.executor.block() ?? (() => undefined);
  }

  submitted(handle: number): void {
    this.#current()?.executor.submitted(handle);
  }

  #current(): VirtualWorker | undefined {
    const task = taskContext.getStore()?.taskId;
    if (task === undefined) return undefined;
    const call = this.#native.calls.callOf(task);
    return call?.worker == null ? undefined : this.#workers.get(call.worker.number);
  }

  #makeWorker(actor: InlineActor | null): VirtualWorker {
    const number = ++this.#last;
    const { connection } = this;
    const native = Object.create(this.#native) as NativeBinding;
    const gone = (): void => this.#workerGone(worker, "it ended", true);
    native.setBlocked = (isBlocked) => this.#native.calls.setBlocked(worker, isBlocked);
    native.workerExit = gone;
    // The parts of a connection that an executor uses.
    const own = {
      native: bound(this.#native, native),
      store: connection.store,
      place: connection.place,
      get isOpen() {
        return connection.isOpen;
      },
      request: (method: string, fields: Fields) => connection.request(method, fields),
    } as unknown as Connection;
    const { keepsHandle } = connection.store;
    const executor = new TaskExecutor(own, () => undefined);
    if (connection.store.keepsHandle !== null) this.#keeps.push(connection.store.keepsHandle);
    connection.store.keepsHandle = keepsHandle;
    const worker: VirtualWorker = {
      number,
      actor,
      executor,
      isGone: false,
      isBlocked: false,
      task: null,
    };
    this.#workers.set(number, worker);
    return worker;
  }

  #workerGone(worker: VirtualWorker, reason: string, intended: boolean): void {
    if (worker.isGone && !this.#workers.has(worker.number)) return;
    this.#workers.delete(worker.number);
    this.#native.workers.delete(worker.number);
    worker.isGone = true;
    setImmediate(() => {
      if (!this.#native.isAttached()) return;
      if (worker.actor !== null)
        this.#gcs.apply({
          type: "worker_gone",
          peer: BigInt(worker.number),
          reason,
          intended,
          clean: true,
        });
      this.#sync.forgetPeer(BigInt(worker.number));
      // After the news of the actor, which say how its calls end.
      this.#native.records.post(() => {
        this.#native.calls.workerGone(worker);
        this.#native.calls.schedule();
        return null;
      });
    });
  }

  // --- InlineService

  request(payload: Uint8Array): Promise<Uint8Array> {
    const peer = this.#peer();
    return answer(payload, (method, fields) => this.#handle(method, fields, peer));
  }

  requestNow(payload: Uint8Array): Uint8Array | null {
    const { m } = unpack(payload) as { m: string };
    if (/\.(wait|acquire|read)$/.test(m)) return null;
    return answerNow(
      payload,
      (method, fields) => this.#handle(method, fields, this.#peer()) as Fields,
    );
  }

  actorGone(id: string): void {
    if (this.#gcs.state.actors.has(id)) this.#gcs.apply({ type: "actor_out_of_scope", actor: id });
  }

  /** Who asks: the worker that runs the calling code, or the program (1). */
  #peer(): Peer {
    return BigInt(this.#current()?.number ?? 1);
  }

  #handle(method: string, fields: Fields, peer: Peer): Fields | Promise<Fields> {
    if (this.#gcs.handles(method)) return this.#gcs.request(method, fields, 1n);
    if (this.#sync.handles(method)) return this.#sync.request(method, fields, peer);
    const { calls, objects } = this.#native;
    switch (method) {
      case "job.info":
        return { job: 1, ...this.connection.place };
      case "resources.total":
        return { resources: userAmounts(calls.total) };
      case "resources.available":
        return { resources: userAmounts(calls.free) };
      case "store.stats":
        return {
          stats: {
            storeUsedBytes: objects.usedBytes,
            storeCapacityBytes: calls.total.object_store_memory ?? 0,
            objects: objects.size,
            workers: this.#workers.size,
          },
          total: userAmounts(calls.total),
          available: userAmounts(calls.free),
        };
      case "metrics.report":
        return this.#metrics.report(fields);
      case "metrics.text":
        return { text: prometheusText(this.#metrics.families()) };
      case "object.bind": {
        const entry = objects.byId(idFromBytes(fields.id as Uint8Array));
        const held = this.#held.get(idFromBytes(fields.actor as Uint8Array));
        if (entry !== undefined && held !== undefined) held.push(hold(entry));
        return {};
      }
      default:
        throw new PolyrayError(
          `[not supported] "${method}" has no meaning with init({ mode: "inline" }). Run the program over processes.`,
          { code: "INVALID_ARGUMENT" },
        );
    }
  }

  // --- GcsHost

  place(spec: ActorSpec): Promise<{ peer: Peer; pid: number; lease: number }> {
    const { calls, objects } = this.#native;
    return new Promise((resolve, reject) => {
      if (spec.handle.language === "py" || !calls.canEver(spec.resources)) {
        const why =
          spec.handle.language === "py"
            ? 'Python classes need worker processes: init({ mode: "inline" }) runs TypeScript only'
            : "no node can ever give the resources that it asks for";
        reject(new PolyrayError(why, { code: "ACTOR_UNSCHEDULABLE" }));
        return;
      }
      const start = (): boolean => {
        if (!calls.canNow(spec.resources)) return false;
        calls.take(spec.resources, 1);
        const entry = objects.byId(spec.actor);
        const worker = this.#makeWorker(entry === undefined ? null : calls.actorOf(entry));
        this.#native.workers.set(worker.number, worker);
        this.#leases.set(worker.number, spec.resources);
        resolve({ peer: BigInt(worker.number), pid: process.pid, lease: worker.number });
        return true;
      };
      if (!start()) calls.placing.push(start);
    });
  }

  async construct(spec: ActorSpec, peer: Peer, incarnation: number): Promise<ConstructOutcome> {
    const { calls, objects } = this.#native;
    const entry = objects.byId(spec.actor);
    const worker = this.#workers.get(Number(peer));
    const code = objects.byId(spec.spec);
    if (entry === undefined) throw new Error("every handle to it went out of scope");
    if (worker === undefined || code === undefined) return { kind: "worker_gone" };
    const stored = typeof spec.args === "string" ? objects.byId(spec.args)?.bytes : spec.args;
    const actor = calls.actorOf(entry);
    const args = (stored as Uint8Array).slice();
    const call = calls.construct(actor, worker, code.handle, args, incarnation);
    const made = call.returns[0] as Entry;
    if (made.status === ObjectStatus.pending)
      await new Promise<void>((resolve) => made.onSettled.push(resolve));
    const { bytes, status } = made;
    this.#native.releaseHandle(made.handle);
    if (status !== ObjectStatus.error) return { kind: "made" };
    const error = readError(bytes);
    if (error instanceof PolyrayError && error.code === "WORKER_CRASHED")
      return { kind: "worker_gone" };
    return { kind: "threw", error: bytes };
  }

  kill(peer: Peer): void {
    const worker = this.#workers.get(Number(peer));
    if (worker === undefined) return;
    void worker.executor.dispose();
    this.#workerGone(worker, "it was ended", false);
  }

  returnLease(lease: number): void {
    const amounts = this.#leases.get(lease);
    if (amounts === undefined) return;
    this.#leases.delete(lease);
    this.#native.calls.take(amounts, -1);
    this.#native.calls.schedule();
  }

  endJob(): void {}

  reserveGroup(): void {
    throw new PolyrayError(
      '[not supported] placement groups reserve resources of nodes, which mode: "inline" does not have. Run the program over processes.',
      { code: "INVALID_ARGUMENT" },
    );
  }

  releaseGroup(): void {}

  hold(spec: ActorSpec): void {
    const entries = heldIds(spec)
      .map((id) => this.#native.objects.byId(id))
      .filter((one) => one !== undefined);
    this.#held.set(spec.actor, entries.map(hold));
  }

  drop(spec: ActorSpec): void {
    for (const entry of this.#held.get(spec.actor) ?? []) this.#native.objects.letGo(entry);
    this.#held.delete(spec.actor);
  }

  push(_peer: Peer, topic: number, payload: Uint8Array): void {
    this.#native.records.post(() => ({
      kind: EventKind.push,
      words: { [Rec.a]: topic },
      payload,
    }));
  }

  deathEnvelope(row: ActorRow, death: Death): Uint8Array {
    return deathEnvelope(row, death, this.#nodeId);
  }

  nowMs(): number {
    return Date.now();
  }
}

/** `native` with the methods of `base` bound to it (private fields belong to the base), and its own on top. */
function bound(base: InlineNative, own: NativeBinding): NativeBinding {
  return new Proxy(own, {
    get(target, name) {
      if (Object.hasOwn(target, name)) return Reflect.get(target, name);
      const value: unknown = Reflect.get(base, name);
      return typeof value === "function" ? value.bind(base) : value;
    },
  });
}

function hold(entry: Entry): Entry {
  entry.holds++;
  return entry;
}
