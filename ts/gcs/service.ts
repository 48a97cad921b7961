// SPDX-License-Identifier: Apache-2.0
// The shell of the control service: feeds step() with events, carries out its effects through a GcsHost, and answers the
// requests of docs/design/0001-core.md. Everything that decides is in step.ts; everything that acts is behind the host.
// Runs on the node service's thread. Knows nothing of processes, sockets or logs.

import { decode, encode } from "@msgpack/msgpack";
import type { ErrorCode } from "../base/error-codes.ts";
import { PolyrayError } from "../base/errors.ts";
import { idFromBytes, idToBytes } from "../base/ids.ts";
import type { GcsEffect, GcsEvent } from "./events.ts";
import { type GroupHost, GroupRequests } from "./group-requests.ts";
import {
  ActorPhase,
  type ActorRow,
  type ActorSpec,
  actorRow,
  type Death,
  emptyState,
  type GcsState,
  gcsLimits,
  type HandleMeta,
  nameKey,
  type Peer,
} from "./state.ts";
import { step } from "./step.ts";

/** What the control service can have done. Promises of place and construct reject with a PolyrayError. */
export interface GcsHost extends GroupHost {
  place(spec: ActorSpec): Promise<{ peer: Peer; pid: number; lease: number }>;
  /** Runs the constructor; `worker_gone`: its worker died, and the event worker_gone decides what comes. */
  construct(spec: ActorSpec, peer: Peer, incarnation: number): Promise<ConstructOutcome>;
  kill(peer: Peer, force: boolean): void;
  returnLease(lease: number): void;
  endJob(job: number): void;
  hold(spec: ActorSpec): void;
  drop(spec: ActorSpec): void;
  push(peer: Peer, topic: number, payload: Uint8Array): void;
  /** Encodes the error that calls to a dead actor get. */
  deathEnvelope(row: ActorRow, death: Death): Uint8Array;
  nowMs(): number;
}

/** How a constructor ended. `error` is the envelope of what it threw. */
export type ConstructOutcome =
  | { readonly kind: "made" }
  | { readonly kind: "worker_gone" }
  | { readonly kind: "threw"; readonly error: Uint8Array | null };

/** Push topic of actor states. */
export const actorTopic = 1;

// A handle may travel faster than the request that creates its actor: another process asks for it first. So long an
// actor that nobody knows counts as one that is about to be created.
const unknownGraceMs = 5000;

type Fields = Record<string, unknown>;
type Handler = (fields: Fields, peer: Peer) => Fields | Promise<Fields>;

export class GcsService {
  readonly state: GcsState = emptyState();
  readonly #host: GcsHost;
  readonly #watchers = new Map<string, Set<Peer>>();
  readonly #handlers: Readonly<Record<string, Handler>>;
  readonly #groups: GroupRequests;

  constructor(host: GcsHost) {
    this.#host = host;
    this.#groups = new GroupRequests(this.state, host, (event) => this.apply(event));
    this.#handlers = {
      ...this.#groups.handlers(),
      "actor.create": (fields, peer) => this.#create(fields, peer),
      "actor.watch": (fields, peer) => this.#watch(idField(fields, "actor"), peer),
      "actor.byName": (fields) => this.#byName(fields),
      "actor.kill": (fields) => this.#kill(fields),
      "actor.exit": (fields) => this.#exit(fields),
      "actor.list": (fields) => this.#list(fields),
      "kv.put": (fields) => this.#kvPut(fields),
      "kv.get": (fields) => {
        const found = this.state.kv.get(kvKey(fields));
        return { value: found?.bytes ?? null, form: found?.form ?? null };
      },
      "kv.del": (fields) => ({ deleted: this.state.kv.delete(kvKey(fields)) }),
      "kv.keys": (fields) => this.#kvKeys(fields),
      nodes: () => ({ nodes: [...this.state.nodes.values()] }),
      jobs: () => ({
        jobs: [...this.state.jobs.values()].map((row) => ({ ...row, peer: String(row.peer) })),
      }),
      actors: () => ({ actors: [...this.state.actors.values()].map((row) => describeActor(row)) }),
    };
  }

  /** Methods answered here. */
  handles(method: string): boolean {
    return method in this.#handlers;
  }

  /** Answers one request; throws a PolyrayError that becomes the answer's code and message. */
  request(method: string, fields: Fields, peer: Peer): Fields | Promise<Fields> {
    const handler = this.#handlers[method];
    if (handler === undefined)
      throw new PolyrayError(`the control service has no method "${method}"`, {
        code: "INVALID_ARGUMENT",
      });
    return handler(fields, peer);
  }

  /** One event: steps the machine and carries out what it asks. */
  apply(event: GcsEvent): void {
    for (const effect of step(this.state, event)) this.#carryOut(effect);
  }

  /** The endpoint is gone: it watches nothing any more. */
  forgetPeer(peer: Peer): void {
    for (const watchers of this.#watchers.values()) watchers.delete(peer);
  }

  #carryOut(effect: GcsEffect): void {
    switch (effect.type) {
      case "place":
        void this.#place(effect.actor, effect.incarnation);
        break;
      case "construct":
        void this.#construct(effect.actor, effect.incarnation, effect.peer);
        break;
      case "publish":
        this.#publish(effect.actor);
        break;
      case "kill":
        this.#host.kill(effect.peer, effect.force);
        break;
      case "return_lease":
        this.#host.returnLease(effect.lease);
        break;
      case "drop_spec": {
        const row = this.state.actors.get(effect.actor);
        if (row !== undefined) this.#host.drop(row.spec);
        break;
      }
      case "reserve_group":
      case "release_group":
      case "group_changed":
        this.#groups.carryOut(effect);
        break;
      case "end_job":
        this.#host.endJob(effect.job);
        break;
    }
  }

  async #place(actor: string, incarnation: number): Promise<void> {
    const row = this.state.actors.get(actor);
    if (row === undefined) return;
    try {
      const granted = await this.#host.place(row.spec);
      this.apply({
        type: "actor_placed",
        actor,
        incarnation,
        peer: granted.peer,
        pid: granted.pid,
        lease: granted.lease,
      });
    } catch (error) {
      this.apply({ type: "actor_unplaceable", actor, incarnation, death: deathOf(error) });
    }
  }

  async #construct(actor: string, incarnation: number, peer: Peer): Promise<void> {
    const row = this.state.actors.get(actor);
    if (row === undefined) return;
    const failed = (reason: string, cause: Uint8Array | null): void =>
      this.apply({
        type: "actor_construct_failed",
        actor,
        incarnation,
        death: { code: "ACTOR_DIED", reason, cause },
      });
    try {
      const outcome = await this.#host.construct(row.spec, peer, incarnation);
      if (outcome.kind === "made") this.apply({ type: "actor_constructed", actor, incarnation });
      else if (outcome.kind === "threw") failed("its constructor failed", outcome.error);
    } catch (error) {
      failed((error as Error).message, null);
    }
  }

  #create(fields: Fields, owner: Peer): Fields {
    const handle = fields.handle as HandleMeta | undefined;
    const meta: HandleMeta = handle ?? {
      language: fields.language === "py" ? "py" : "ts",
      className: String(fields.className ?? "Actor"),
      methods: (fields.methods as string[] | undefined) ?? [],
      maxTaskRetries: Number(fields.maxTaskRetries ?? 0),
      name: typeof fields.name === "string" && fields.name !== "" ? fields.name : null,
    };
    const namespace = String(fields.namespace ?? "");
    if (meta.name !== null) {
      const taken = this.state.names.get(nameKey(namespace, meta.name));
      const row = taken === undefined ? undefined : this.state.actors.get(taken);
      if (row !== undefined) {
        if (fields.getIfExists === true)
          return { actor: idToBytes(row.spec.actor), handle: row.spec.handle };
        throw new PolyrayError(
          `[actor exists] an actor named "${meta.name}" exists in namespace "${namespace}". Use another name, or getIfExists.`,
          { code: "ACTOR_ALREADY_EXISTS" },
        );
      }
    }
    if (this.state.actors.size >= gcsLimits.maxActors)
      throw new PolyrayError("[limit reached] too many actors are known", { code: "TABLE_FULL" });
    const args = fields.args as Uint8Array;
    const spec: ActorSpec = {
      actor: idField(fields, "actor"),
      spec: idField(fields, "spec"),
      handle: meta,
      namespace,
      detached: fields.lifetime === "detached",
      qualName: typeof fields.qualName === "string" ? fields.qualName : null,
      maxRestarts: Number(fields.maxRestarts ?? 0),
      isAsync: fields.isAsync === true,
      maxConcurrency: Number(fields.maxConcurrency ?? 1),
      resources: (fields.resources as Record<string, number> | undefined) ?? {},
      group: typeof fields.group === "string" && fields.group !== "" ? fields.group : null,
      workerKey: String(fields.workerKey ?? ""),
      args: fields.argsInStore === true ? idFromBytes(args) : args,
      refs: ((fields.refs as Uint8Array[] | undefined) ?? []).map((id) => idFromBytes(id)),
      topRefs: Number(fields.topRefs ?? 0),
    };
    this.#host.hold(spec);
    this.apply({ type: "actor_created", spec, job: Number(fields.job ?? 0), owner });
    return { actor: idToBytes(spec.actor), handle: meta };
  }

  #watch(actor: string, peer: Peer): Fields {
    let watchers = this.#watchers.get(actor);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(actor, watchers);
    }
    watchers.add(peer);
    if (!this.state.actors.has(actor)) {
      setTimeout(() => this.#stillUnknown(actor), unknownGraceMs).unref();
      return {
        actor: idToBytes(actor),
        phase: ActorPhase.pending,
        endpoint: 0,
        serial: 0,
        incarnation: 0,
        maxTaskRetries: 0,
      };
    }
    return this.#stateMap(actor);
  }

  #stillUnknown(actor: string): void {
    if (this.state.actors.has(actor)) return;
    this.#publish(actor);
    this.#watchers.delete(actor);
  }

  #publish(actor: string): void {
    const watchers = this.#watchers.get(actor);
    if (watchers === undefined || watchers.size === 0) return;
    const payload = encode(this.#stateMap(actor));
    for (const peer of watchers) this.#host.push(peer, actorTopic, payload);
    if (this.state.actors.get(actor)?.phase === ActorPhase.dead) this.#watchers.delete(actor);
  }

  #stateMap(actor: string): Fields {
    const row = this.state.actors.get(actor);
    const id = idToBytes(actor);
    if (row === undefined) {
      const death: Death = {
        code: "ACTOR_DIED",
        reason: "it is not known here (it ended long ago, or its runtime did)",
        cause: null,
      };
      return {
        actor: id,
        phase: ActorPhase.dead,
        endpoint: 0,
        serial: 0,
        incarnation: 0,
        maxTaskRetries: 0,
        error: this.#host.deathEnvelope(unknownRow(actor), death),
      };
    }
    const peer = row.phase === ActorPhase.alive && row.peer !== null ? row.peer : 0n;
    return {
      actor: id,
      phase: row.phase,
      endpoint: Number(peer & 0xffffffffn),
      serial: Number(peer >> 32n),
      incarnation: row.incarnation,
      maxTaskRetries: row.spec.handle.maxTaskRetries,
      ...(row.death === null ? {} : { error: this.#host.deathEnvelope(row, row.death) }),
    };
  }

  #byName(fields: Fields): Fields {
    const name = String(fields.name);
    const namespace = String(fields.namespace ?? "");
    const id = this.state.names.get(nameKey(namespace, name));
    const row = id === undefined ? undefined : this.state.actors.get(id);
    if (row === undefined) {
      throw new PolyrayError(
        `[actor not found] no actor named "${name}" in namespace "${namespace}". Check the name and the namespace; it may have ended.`,
        {
          code: "ACTOR_NOT_FOUND",
        },
      );
    }
    return { actor: idToBytes(row.spec.actor), handle: row.spec.handle };
  }

  #kill(fields: Fields): Fields {
    const actor = idField(fields, "actor");
    this.apply({
      type: "actor_killed",
      actor,
      noRestart: fields.noRestart !== false,
      reason: String(fields.reason ?? "it was killed by kill()"),
    });
    return {};
  }

  #exit(fields: Fields): Fields {
    this.apply({
      type: "actor_exiting",
      actor: idField(fields, "actor"),
      reason: String(fields.reason ?? "it left by exitActor()"),
    });
    return {};
  }

  #list(fields: Fields): Fields {
    const all = fields.allNamespaces === true;
    const namespace = String(fields.namespace ?? "");
    const actors: { name: string; namespace: string }[] = [];
    for (const id of this.state.names.values()) {
      const row = this.state.actors.get(id);
      if (row === undefined || row.spec.handle.name === null) continue;
      if (all || row.spec.namespace === namespace)
        actors.push({ name: row.spec.handle.name, namespace: row.spec.namespace });
    }
    return { actors };
  }

  #kvPut(fields: Fields): Fields {
    const key = kvKey(fields);
    const known = this.state.kv.get(key);
    const existed = known !== undefined;
    const bytes = Buffer.from(fields.value as Uint8Array);
    if (fields.expected !== undefined) {
      const expected = fields.expected as Uint8Array | null;
      const same = existed ? expected !== null && known.bytes.equals(expected) : expected === null;
      if (!same) return { existed, stored: false };
    }
    if (!existed && this.state.kv.size >= gcsLimits.maxKvEntries)
      throw new PolyrayError("[limit reached] the key-value table is full", { code: "TABLE_FULL" });
    const stored = !existed || fields.overwrite !== false;
    if (stored) this.state.kv.set(key, { bytes, form: String(fields.form ?? "bytes") });
    return { existed, stored };
  }

  #kvKeys(fields: Fields): Fields {
    const prefix = `${String(fields.ns ?? "")}\0${String(fields.prefix ?? "")}`;
    const keys = [...this.state.kv.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(key.indexOf("\0") + 1));
    return { keys };
  }
}

/** Decodes a request, runs it, encodes the answer: also for failures. */
export async function answer(
  payload: Uint8Array,
  run: (method: string, fields: Fields) => Fields | Promise<Fields>,
): Promise<Uint8Array> {
  try {
    const fields = decode(payload) as Fields;
    return encode(
      { ok: true, ...(await run(String(fields.m), fields)) },
      { ignoreUndefined: true },
    );
  } catch (error) {
    return encode(failure(error));
  }
}

/** As answer, for a method that answers at once. */
export function answerNow(
  payload: Uint8Array,
  run: (method: string, fields: Fields) => Fields,
): Uint8Array {
  try {
    const fields = decode(payload) as Fields;
    return encode({ ok: true, ...run(String(fields.m), fields) }, { ignoreUndefined: true });
  } catch (error) {
    return encode(failure(error));
  }
}

function failure(error: unknown): Fields {
  const code: ErrorCode = error instanceof PolyrayError ? error.code : "SYSTEM";
  return { ok: false, code, message: (error as Error).message };
}

function idField(fields: Fields, name: string): string {
  const bytes = fields[name];
  if (!(bytes instanceof Uint8Array) || bytes.length !== 16) {
    throw new PolyrayError(`field "${name}" must be a 16-byte id`, { code: "INVALID_ARGUMENT" });
  }
  return idFromBytes(bytes);
}

function kvKey(fields: Fields): string {
  const key = fields.key;
  const text = typeof key === "string" ? key : Buffer.from(key as Uint8Array).toString("latin1");
  return `${String(fields.ns ?? "")}\0${text}`;
}

function deathOf(error: unknown): Death {
  const code = error instanceof PolyrayError ? error.code : "SYSTEM";
  const reason = (error as Error).message;
  if (code === "RUNTIME_ENV_SETUP" || code === "VERSION_MISMATCH")
    return { code: "RUNTIME_ENV_SETUP", reason, cause: null };
  if (code === "TASK_UNSCHEDULABLE" || code === "ACTOR_UNSCHEDULABLE")
    return { code: "ACTOR_UNSCHEDULABLE", reason, cause: null };
  return { code: "ACTOR_DIED", reason, cause: null };
}

function unknownRow(actor: string): ActorRow {
  const handle: HandleMeta = {
    language: "ts",
    className: "Actor",
    methods: [],
    maxTaskRetries: 0,
    name: null,
  };
  const spec: ActorSpec = {
    actor,
    spec: "0".repeat(32),
    handle,
    namespace: "",
    detached: false,
    qualName: null,
    maxRestarts: 0,
    isAsync: false,
    maxConcurrency: 1,
    resources: {},
    group: null,
    workerKey: "",
    args: new Uint8Array(0),
    refs: [],
    topRefs: 0,
  };
  return actorRow(spec, 0, null, ActorPhase.dead);
}

function describeActor(row: ActorRow): Fields {
  return {
    actorId: row.spec.actor,
    className: row.spec.handle.className,
    language: row.spec.handle.language,
    name: row.spec.handle.name,
    namespace: row.spec.namespace,
    job: row.job,
    phase: row.phase,
    pid: row.pid,
    restarts: row.restarts,
    death: row.death?.reason ?? null,
  };
}
