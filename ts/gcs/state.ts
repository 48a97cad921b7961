// SPDX-License-Identifier: Apache-2.0
// The tables of the global control service as plain data: nodes, jobs, actors, names, keys. No I/O, no clock.
// One GCS per cluster holds one GcsState; step.ts moves it on. Invariants (validate.ts checks them after every step):
// (1) a name points at a live actor row; (2) an actor that is alive has a peer; (3) dead rows are kept only up to
// maxDeadActors, oldest gone first; (4) an actor's incarnation never goes back.

import type { HandleMeta } from "../core/actor-handle.ts";
import { ActorPhase } from "../native/binding.ts";

export type { HandleMeta };
export { ActorPhase };
/** Phases by number as lists and metrics name them. */
export const actorStates = [
  "DEPENDENCIES_UNREADY",
  "PENDING_CREATION",
  "ALIVE",
  "RESTARTING",
  "DEAD",
] as const;

/** An endpoint and its serial, packed as the rings do: endpoint | serial << 32. */
export type Peer = bigint;

/** Why an actor is dead. `cause` is an encoded error envelope (of its constructor), when there is one. */
export interface Death {
  readonly code: "ACTOR_DIED" | "ACTOR_UNSCHEDULABLE" | "RUNTIME_ENV_SETUP";
  readonly reason: string;
  readonly cause: Uint8Array | null;
}

/** What `actor.create` asked for; kept for restarts. */
export interface ActorSpec {
  readonly actor: string;
  readonly spec: string;
  readonly handle: HandleMeta;
  readonly namespace: string;
  readonly detached: boolean;
  /** The class as its language names it, with what surrounds it; null: the class name. */
  readonly qualName: string | null;
  readonly maxRestarts: number;
  readonly isAsync: boolean;
  readonly maxConcurrency: number;
  readonly resources: Readonly<Record<string, number>>;
  /** The placement group that it lives in. */
  readonly group: string | null;
  readonly workerKey: string;
  readonly args: Uint8Array | string;
  readonly refs: readonly string[];
  readonly topRefs: number;
}

export interface ActorRow {
  readonly spec: ActorSpec;
  readonly job: number;
  /** Who created it: it ends with that process, unless it is detached. */
  readonly owner: Peer | null;
  phase: ActorPhase;
  peer: Peer | null;
  /** Of its latest process; 0 before the first. */
  pid: number;
  lease: number;
  incarnation: number;
  restarts: number;
  death: Death | null;
  /** `kill` or end of scope was asked for while it was being made. */
  ending: string | null;
}

/** The row of an actor that has no process yet; of one that never was, in the phase `dead`. */
export function actorRow(
  spec: ActorSpec,
  job: number,
  owner: Peer | null,
  phase: ActorPhase,
): ActorRow {
  return {
    spec,
    job,
    owner,
    phase,
    peer: null,
    pid: 0,
    lease: 0,
    incarnation: 0,
    restarts: 0,
    death: null,
    ending: null,
  };
}

/** The objects that live as long as the actor: what its constructor takes, and a detached one's own handle. */
export function heldIds({ refs, spec, args, detached, actor }: ActorSpec): string[] {
  return [...refs, spec, ...(typeof args === "string" ? [args] : []), ...(detached ? [actor] : [])];
}

export interface JobRow {
  readonly job: number;
  readonly peer: Peer;
  readonly pid: number;
  readonly language: "ts" | "py";
  namespace: string;
  entrypoint: string;
  startedAtMs: number;
  endedAtMs: number | null;
}

export interface NodeRow {
  readonly nodeId: string;
  readonly address: string;
  readonly hostname: string;
  alive: boolean;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** A placement group: bundles of resources that are reserved together. Amounts are fixed-point. */
export interface GroupRow {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly strategy: string;
  readonly bundles: readonly Readonly<Record<string, number>>[];
  readonly job: number;
  readonly detached: boolean;
  readonly createdAtMs: number;
  readyAtMs: number | null;
  state: "PENDING" | "CREATED" | "REMOVED";
}

export interface GcsState {
  readonly nodes: Map<string, NodeRow>;
  readonly jobs: Map<number, JobRow>;
  readonly actors: Map<string, ActorRow>;
  /** "namespace/name" -> actor id */
  readonly names: Map<string, string>;
  readonly deadActors: string[];
  /** Bytes as they were put, and what they were: "bytes", "text" or "json". */
  readonly kv: Map<string, { readonly bytes: Buffer; readonly form: string }>;
  readonly groups: Map<string, GroupRow>;
}

/** Bounds of the tables: a table of the control service never grows without end. */
export const gcsLimits = {
  maxDeadActors: 1000,
  maxEndedJobs: 1000,
  maxKvEntries: 100_000,
  maxActors: 100_000,
  maxGroups: 10_000,
  maxRemovedGroups: 1000,
} as const;

export function emptyState(): GcsState {
  return {
    nodes: new Map(),
    jobs: new Map(),
    actors: new Map(),
    names: new Map(),
    deadActors: [],
    kv: new Map(),
    groups: new Map(),
  };
}

export function nameKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}
