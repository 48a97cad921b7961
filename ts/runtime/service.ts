// SPDX-License-Identifier: Apache-2.0
// The node service: one object that joins the raylet's events, the control service (GCS), the spawner and the logs.
//
// Runs in a worker thread of an embedding driver (service-thread.ts) or in the process of `polyray start` (head.ts).
// It carries out the GCS's effects through the native endpoint and answers what is not the GCS's business: job.info,
// resources, store. Owns: the endpoint, spawner, terminals, log tailer. Everything ends with stop().

import { constants, hostname } from "node:os";
import { dirname, join } from "node:path";
import { userAmounts } from "../base/amounts.ts";
import type { ErrorCode } from "../base/error-codes.ts";
import { ActorDiedError, PolyrayError } from "../base/errors.ts";
import { idFromBytes } from "../base/ids.ts";
import type { TracingOptions } from "../core/tracing.ts";
import { deathEnvelope, readError } from "../gcs/death.ts";
import { type Family, MetricsTable, prometheusText } from "../gcs/metrics-table.ts";
import { answer, type ConstructOutcome, type GcsHost, GcsService } from "../gcs/service.ts";
import { type ActorRow, type ActorSpec, type Death, type GroupRow, heldIds } from "../gcs/state.ts";
import { SyncService } from "../gcs/sync.ts";
import { Language, LeaseFlag, type NativeBinding, RayletOp } from "../native/binding.ts";
import { type ChildEnd, signalName } from "../node/child-end.ts";
import { type Peer, ServiceEndpoint } from "../node/endpoint.ts";
import { type EnvironmentKey, Environments } from "../node/environments/prepare.ts";
import type { EnvironmentSpec } from "../node/environments/spec.ts";
import { LogTailer } from "../node/logs.ts";
import type { MemoryMonitor, MemorySettings } from "../node/memory-monitor.ts";
import { Spawner, type StartedWorker, type WarmPython, type WorkerExit } from "../node/spawn.ts";
import { Terminals } from "../node/terminals.ts";
import { groupPayload } from "./group-payload.ts";
import { memoryGuard } from "./memory-guard.ts";
import { StateService } from "./state-service.ts";
import { rolesOf, systemFamilies } from "./system-metrics.ts";

/** What a node service needs to know; plain data, so that it can be handed to a worker thread. */
export interface ServiceConfig {
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly socketName: string;
  readonly token: string;
  readonly address: string;
  readonly nodeId: string;
  readonly namespace: string;
  readonly version: string;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly memory: MemorySettings;
  /** Where the metrics are scraped; absent: nowhere. */
  readonly metricsPort?: number | undefined;
  /** What drivers that join trace by, unless they say otherwise; absent: they do not. */
  readonly tracing?: TracingOptions | undefined;
  /** Worker of the embedding driver, which started it; absent: none. */
  readonly firstWorker?: StartedWorker | undefined;
}

const systemDeaths: ReadonlySet<string> = new Set([
  "WORKER_CRASHED",
  "ACTOR_DIED",
  "ACTOR_UNAVAILABLE",
  "OWNER_DIED",
]);
const killGraceMs = 2000n;

export class NodeService implements GcsHost {
  readonly config: ServiceConfig;
  readonly gcs: GcsService;
  readonly #sync: SyncService;
  readonly #native: NativeBinding;
  readonly #endpoint: ServiceEndpoint;
  readonly #states: StateService;
  readonly #metrics = new MetricsTable(() => this.#systemFamilies());
  readonly #logs: LogTailer;
  readonly #terminals = new Terminals();
  readonly #spawner: Spawner;
  readonly #environments: Environments;
  readonly #memory: MemoryMonitor;
  readonly #held = new Map<string, number[]>();
  readonly #specs = new Map<string, number>();
  readonly #drivers = new Map<number, number>();
  readonly #exits = new Map<bigint, (exit: WorkerExit) => void>();
  readonly #onShutdown: () => void;
  readonly #firstAdopted: Promise<void>;
  #adoptFirst: () => void = () => undefined;
  #stopRequested: () => void = () => undefined;

  constructor(
    native: NativeBinding,
    config: ServiceConfig,
    onShutdown: () => void,
    warmPython?: WarmPython,
  ) {
    this.config = config;
    this.#native = native;
    this.#onShutdown = onShutdown;
    this.gcs = new GcsService(this);
    this.#states = new StateService(native, this.gcs.state, {
      nodeId: config.nodeId,
      address: config.address,
      readError,
    });
    this.#sync = new SyncService({
      holdObject: (id) => native.handleOfId(idFromBytes(id)),
      dropObject: (handle) => this.#dropObject(handle),
    });
    this.#logs = new LogTailer(join(config.sessionDir, "logs"), (source, stream, lines) =>
      this.#terminals.lines(source, stream, lines),
    );
    this.#environments = new Environments({
      sessionId: `polyray-${config.sessionId}`,
      sessionDir: config.sessionDir,
      cacheRoot: join(dirname(config.sessionDir), "environments"),
      notice: (job, line) => this.#terminals.notice(job, line),
    });
    this.#spawner = new Spawner({
      ...config,
      logs: this.#logs,
      environments: this.#environments,
      warmPython,
      hasAttached: (pid) => this.#hasAttached(pid),
      onStarted: (token, pid) =>
        this.#endpoint.command(RayletOp.workerStarted, token, BigInt(pid), 0n, null),
      onFailed: (token, code, message) => this.#workerFailed(token, code, message),
      onExit: (token, exit) => {
        const signal = exit.signal === null ? 0 : constants.signals[exit.signal as NodeJS.Signals];
        const code = BigInt.asUintN(64, BigInt(exit.exitCode ?? -1));
        this.#endpoint.command(RayletOp.workerExited, token, code, BigInt(signal ?? 0), null);
        this.#exits.get(token)?.(exit);
      },
    });
    this.#endpoint = new ServiceEndpoint(native, config.socketName, config.token, {
      request: (peer, request, payload) => void this.#request(peer, request, payload),
      rayletEvent: (event) => void this.#rayletEvent(event),
      actorGone: (actor) => this.gcs.apply({ type: "actor_out_of_scope", actor }),
      shutdown: () => this.#onShutdown(),
    });
    this.#memory = memoryGuard({
      settings: config.memory,
      nodeId: config.nodeId,
      native,
      endpoint: this.#endpoint,
      actors: this.gcs.state.actors,
      tasks: () => this.#states.tasks(),
      notice: (line) => this.#terminals.notice(0, line),
    });
    this.#firstAdopted = new Promise((resolve) => {
      this.#adoptFirst = resolve;
    });
    this.gcs.apply({
      type: "node_joined",
      node: {
        nodeId: config.nodeId,
        address: "127.0.0.1",
        hostname: hostname(),
        alive: true,
        resources: config.resources,
        labels: config.labels,
      },
    });
  }

  /** Called when a client asks to stop the whole session. */
  onStopRequest(run: () => void): void {
    this.#stopRequested = run;
  }

  /** The driver, its parent, saw the end of its first worker. */
  firstWorkerEnded(end: ChildEnd): void {
    const token = this.config.firstWorker?.request.startupToken;
    if (token !== undefined) void this.#firstAdopted.then(() => this.#spawner.ended(token, end));
  }

  /** Ends what the service owns; the raylet is stopped by its starter. */
  stop(): void {
    this.#memory.stop();
    this.#environments.stop();
    this.#spawner.stop();
    this.#logs.flush();
    this.#logs.close();
    this.#terminals.close();
    if (this.#native.isAttached()) this.#native.detach();
  }

  /** One request, from a ring or from gRPC. */
  handle(
    method: string,
    fields: Record<string, unknown>,
    peer: Peer,
  ): Record<string, unknown> | Promise<Record<string, unknown>> {
    if (this.#states.handles(method)) return this.#states.request(method, fields);
    if (this.gcs.handles(method)) return this.gcs.request(method, fields, peer);
    if (this.#sync.handles(method)) return this.#sync.request(method, fields, peer);
    switch (method) {
      case "job.info": {
        const job = Number(fields.job ?? 0);
        this.gcs.apply({
          type: "job_described",
          job,
          namespace: String(fields.namespace ?? this.config.namespace),
          entrypoint: String(fields.entrypoint ?? ""),
        });
        if (typeof fields.prestart === "string") this.#prestart(job, fields.prestart);
        const { nodeId, address, sessionDir, namespace, sessionId, labels, tracing } = this.config;
        return { job, nodeId, address, sessionDir, sessionId, namespace, labels, tracing };
      }
      case "resources.total":
        return { resources: userAmounts(this.#native.rayletStats().total) };
      case "resources.available":
        return { resources: userAmounts(this.#native.rayletStats().available) };
      case "store.stats": {
        const { total, available, processes, ...rest } = this.#native.rayletStats();
        return { stats: rest, total: userAmounts(total), available: userAmounts(available) };
      }
      case "node.stats":
        return this.#nodeStats();
      case "metrics.report":
        return this.#metrics.report(fields);
      case "metrics.text":
        return { text: this.metricsText() };
      case "metrics.families":
        return { families: this.#families() };
      case "object.bind":
        return this.#bindObject(fields);
      case "session.stop":
        setTimeout(() => this.#stopRequested(), 20);
        return {};
      default:
        throw new PolyrayError(`the node service has no method "${method}"`, {
          code: "INVALID_ARGUMENT",
        });
    }
  }

  // The first worker of a job boots while its program still prepares its first call.
  #prestart(job: number, key: string): void {
    if ((this.config.resources.CPU ?? 0) <= 0) return;
    const language = (JSON.parse(key) as { language: string }).language;
    const pool = BigInt(job) | (BigInt(language === "py" ? Language.py : Language.ts) << 32n);
    this.#endpoint.command(RayletOp.prestart, pool, 0n, 0n, Buffer.from(key));
  }

  /** All metrics in the text form of Prometheus. */
  metricsText(): string {
    return prometheusText(this.#families());
  }

  #families(): Family[] {
    return [...this.#systemFamilies(), ...this.#metrics.families()];
  }

  #systemFamilies(): Family[] {
    return systemFamilies(this.#native.rayletStats(), this.gcs.state);
  }

  // What `polyray status` shows of this node.
  #nodeStats(): Record<string, unknown> {
    const { total, available, processes, ...counters } = this.#native.rayletStats();
    const { address, nodeId, sessionId, version, metricsPort } = this.config;
    return {
      address,
      nodeId,
      sessionId,
      version,
      metricsPort: metricsPort ?? null,
      nodes: [...this.gcs.state.nodes.values()],
      total: userAmounts(total),
      available: userAmounts(available),
      counters,
      roles: rolesOf(processes),
      processes,
    };
  }

  async #request(peer: Peer, request: number, payload: Uint8Array): Promise<void> {
    const reply = await answer(payload, (method, fields) =>
      method === "env.prepare"
        ? this.#prepareEnvironment(fields)
        : this.handle(method, fields, peer),
    );
    if (this.#native.isAttached()) this.#endpoint.reply(peer, request, reply);
  }

  // A job's environment: its local folders become packages now; what takes long begins, and is told by the tasks.
  async #prepareEnvironment(fields: Record<string, unknown>): Promise<Record<string, unknown>> {
    const key = fields.key as EnvironmentKey;
    const runtimeEnv = await this.#environments.pack(
      (fields.runtimeEnv ?? {}) as EnvironmentSpec,
      String(fields.cwd),
    );
    if (runtimeEnv.config?.eager_install !== false && fields.key !== undefined)
      this.#environments.prepare({ ...key, runtimeEnv }).catch(() => undefined);
    return { runtimeEnv };
  }

  async #rayletEvent(event: Record<string, unknown>): Promise<void> {
    switch (event.event) {
      case "worker_needed":
        this.#spawner.start({
          startupToken: BigInt(event.startupToken as number),
          language: event.language === Language.py ? "py" : "ts",
          job: Number(event.job),
          key: String(event.key),
        });
        break;
      case "worker_gone":
        await this.#workerGone(event);
        break;
      case "leases_active":
        this.#memory.leasesActive();
        break;
      case "group_ready":
        this.gcs.apply({
          type: "group_ready",
          group: String(event.group),
          atMs: this.nowMs(),
        });
        break;
      case "driver_joined":
        this.#driverJoined(event);
        break;
      case "driver_gone":
        this.#driverGone(event);
        break;
      default:
        break; // "infeasible": the raylet fails such requests itself
    }
  }

  #driverJoined(event: Record<string, unknown>): void {
    const job = Number(event.job);
    this.#drivers.set(job, (this.#drivers.get(job) ?? 0) + 1);
    this.#terminals.add(job, Number(event.stdoutFd ?? -1), Number(event.stderrFd ?? -1));
    if (this.gcs.state.jobs.has(job)) return;
    const { firstWorker } = this.config;
    if (firstWorker?.request.job === job) {
      this.#spawner.adopt(firstWorker);
      this.#adoptFirst();
    }
    this.gcs.apply({
      type: "job_started",
      row: {
        job,
        peer: eventPeer(event),
        pid: Number(event.pid),
        language: event.language === Language.py ? "py" : "ts",
        namespace: this.config.namespace,
        entrypoint: "",
        startedAtMs: this.nowMs(),
        endedAtMs: null,
      },
    });
  }

  #driverGone(event: Record<string, unknown>): void {
    const job = Number(event.job);
    this.gcs.forgetPeer(eventPeer(event));
    this.#sync.forgetPeer(eventPeer(event));
    this.#logs.flush();
    this.#terminals.remove(job);
    const left = (this.#drivers.get(job) ?? 1) - 1;
    this.#drivers.set(job, left);
    if (left > 0) return;
    this.#drivers.delete(job);
    this.gcs.apply({ type: "job_ended", job, atMs: this.nowMs() });
  }

  async #workerGone(event: Record<string, unknown>): Promise<void> {
    const token = BigInt(event.startupToken as number);
    const pid = Number(event.pid);
    const peer = eventPeer(event);
    const noMemory = this.#memory.workerGone(peer);
    // The raylet mostly sees how a child of this process ended before its parent's loop, which may be blocked, reaps it.
    const seen = endSeen(event);
    if (seen !== null) this.#spawner.ended(token, seen);
    const exit = (await this.#exitOf(token)) ?? (seen && { pid, ...seen, lastLines: [] });
    this.gcs.forgetPeer(peer);
    this.#sync.forgetPeer(peer);
    const how =
      exit === null
        ? "ended"
        : exit.signal !== null
          ? `was killed by ${exit.signal}`
          : `exited with code ${exit.exitCode}`;
    this.#states.workerGone(
      pid,
      Number(peer >> 32n),
      noMemory ?? `The worker process ${how}.`,
      exit?.exitCode === 0,
    );
    const said =
      exit === null || exit.lastLines.length === 0
        ? ""
        : `; its last lines: ${exit.lastLines.join(" | ")}`;
    this.gcs.apply({
      type: "worker_gone",
      peer,
      reason: noMemory ?? `its worker process (pid ${pid}) ${how}${said}`,
      intended: false,
      clean: exit?.exitCode === 0,
    });
  }

  // The raylet sees the socket close before the parent has reaped the process: wait shortly for the exit code.
  #exitOf(token: bigint): Promise<WorkerExit | null> {
    return new Promise((resolve) => {
      const done = (exit: WorkerExit | null): void => {
        clearTimeout(timer);
        this.#exits.delete(token);
        resolve(exit);
      };
      const timer = setTimeout(() => done(null), 150);
      if (this.#spawner.source(token) === null) done(this.#spawner.lastExit(token));
      else this.#exits.set(token, done);
    });
  }

  #hasAttached(pid: number): boolean {
    if (!this.#native.isAttached()) return false;
    return this.#native.rayletStats().processes.some((one) => one.pid === pid);
  }

  #workerFailed(token: bigint, code: ErrorCode, message: string): void {
    const payload = Buffer.from(JSON.stringify({ code, message }));
    if (this.#native.isAttached())
      this.#endpoint.command(RayletOp.workerFailed, token, 0n, 0n, payload);
  }

  // --- GcsHost

  async place(spec: ActorSpec): Promise<{ peer: Peer; pid: number; lease: number }> {
    const granted = await this.#endpoint.requestDedicated(this.#registered(spec));
    return { ...granted, pid: this.#states.pidOf(granted.peer) };
  }

  #registered(spec: ActorSpec): number {
    const key = `${spec.spec} ${JSON.stringify(spec.resources)} ${spec.workerKey}`;
    let number = this.#specs.get(key);
    if (number === undefined) {
      const handle = this.#native.handleOfId(spec.spec);
      if (handle === 0)
        throw new ActorDiedError(
          "[actor died] the actor's class is no longer in the store: its job ended.",
        );
      number = this.#native.registerSpec({
        spec: handle,
        language: spec.handle.language === "py" ? Language.py : Language.ts,
        leaseFlags: LeaseFlag.dedicated,
        priority: 0,
        resources: spec.resources,
        workerKey: spec.workerKey,
        maxRetries: 0,
      });
      this.#native.releaseHandle(handle);
      this.#specs.set(key, number);
    }
    return number;
  }

  async construct(spec: ActorSpec, peer: Peer, incarnation: number): Promise<ConstructOutcome> {
    const actor = this.#native.handleOfId(spec.actor);
    if (actor === 0) throw new Error("every handle to it went out of scope");
    const refs = spec.refs.map((id) => this.#native.handleOfId(id));
    let stored = 0;
    let made = 0;
    try {
      let args = spec.args as Uint8Array;
      if (typeof spec.args === "string") {
        stored = this.#native.handleOfId(spec.args);
        const view = stored === 0 ? null : this.#native.read(stored, false);
        if (view === null) throw new Error("its constructor arguments are gone");
        args = view;
      }
      made = this.#native.submitActorCreate(
        Number(peer & 0xffffffffn),
        Number(peer >> 32n),
        actor,
        incarnation,
        this.#registered(spec),
        args,
        args.length,
        refs.length === 0 ? null : Uint32Array.from(refs),
        spec.topRefs,
      );
      const settled = await this.#endpoint.settled(made);
      return settled.isError ? this.#constructorOutcome(settled.bytes) : { kind: "made" };
    } finally {
      for (const handle of [actor, ...refs, stored, made])
        if (handle !== 0) this.#native.releaseHandle(handle);
      this.#endpoint.flushSoon();
    }
  }

  // A dead worker is not a failed constructor: worker_gone decides whether it starts again.
  #constructorOutcome(bytes: Uint8Array | null): ConstructOutcome {
    const error = readError(bytes);
    if (error instanceof PolyrayError && systemDeaths.has(error.code))
      return { kind: "worker_gone" };
    return { kind: "threw", error: bytes };
  }

  kill(peer: Peer, force: boolean): void {
    this.#endpoint.command(RayletOp.killEndpoint, peer, force ? 1n : 0n, killGraceMs, null);
  }

  returnLease(lease: number): void {
    this.#native.returnLease(lease);
    this.#endpoint.flushSoon();
  }

  endJob(job: number): void {
    this.#endpoint.command(RayletOp.endJob, BigInt(job), 0n, 0n, null);
  }

  reserveGroup(row: GroupRow, possible: boolean): void {
    this.#endpoint.command(RayletOp.groupAdd, 0n, 0n, 0n, groupPayload(row, possible));
  }

  releaseGroup(row: GroupRow): void {
    this.#endpoint.command(RayletOp.groupRemove, 0n, 0n, 0n, groupPayload(row, null));
  }

  hold(spec: ActorSpec): void {
    this.#held.set(
      spec.actor,
      heldIds(spec)
        .map((id) => this.#native.handleOfId(id))
        .filter((handle) => handle !== 0),
    );
  }

  drop(spec: ActorSpec): void {
    for (const handle of this.#held.get(spec.actor) ?? []) this.#native.releaseHandle(handle);
    this.#held.delete(spec.actor);
    this.#endpoint.flushSoon();
  }

  push(peer: Peer, topic: number, payload: Uint8Array): void {
    this.#endpoint.push(peer, topic, payload);
  }

  deathEnvelope(row: ActorRow, death: Death): Uint8Array {
    return deathEnvelope(row, death, this.config.nodeId);
  }

  /** An object lives as long as an actor does. */
  #bindObject(fields: Record<string, unknown>): Record<string, unknown> {
    const actor = idFromBytes(fields.actor as Uint8Array);
    const held = this.#held.get(actor);
    if (held === undefined)
      throw new PolyrayError(`[actor died] the actor ${actor} is not alive: it can own nothing.`, {
        code: "ACTOR_DIED",
      });
    const handle = this.#native.handleOfId(idFromBytes(fields.id as Uint8Array));
    if (handle === 0)
      throw new PolyrayError("[object freed] the object is gone: keep its ref until this returns", {
        code: "OBJECT_FREED",
      });
    held.push(handle);
    return {};
  }

  #dropObject(handle: number): void {
    if (!this.#native.isAttached()) return;
    this.#native.releaseHandle(handle);
    this.#endpoint.flushSoon();
  }

  nowMs(): number {
    return Date.now();
  }
}

function eventPeer(event: Record<string, unknown>): Peer {
  return BigInt(Number(event.endpoint ?? 0)) | (BigInt(Number(event.serial ?? 0)) << 32n);
}

// How a worker ended as the raylet saw it; null: it could not see that.
function endSeen(event: Record<string, unknown>): ChildEnd | null {
  const signal = Number(event.signal ?? 0);
  const code = Number(event.exitCode ?? -1);
  if (signal !== 0) return { exitCode: null, signal: signalName(signal), why: null };
  return code < 0 ? null : { exitCode: code, signal: null, why: null };
}
