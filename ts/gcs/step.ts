// SPDX-License-Identifier: Apache-2.0
// The control service's state machine: step(state, event) -> effects. No I/O, no await, no clock, no randomness.
// One small function per event; docs/states/actor.md prints the table. Events that come late (another incarnation, an
// actor that is dead already) change nothing: races between a kill, a death and a finished constructor settle here.

import type { GcsEffect, GcsEvent } from "./events.ts";
import { createGroup, groupReady, groupsOfJob, removeGroup } from "./groups.ts";
import {
  ActorPhase,
  type ActorRow,
  actorRow,
  type Death,
  type GcsState,
  gcsLimits,
  nameKey,
} from "./state.ts";

/** Applies one event. */
export function step(state: GcsState, event: GcsEvent): GcsEffect[] {
  switch (event.type) {
    case "node_joined":
      state.nodes.set(event.node.nodeId, event.node);
      return [];
    case "job_started":
      state.jobs.set(event.row.job, event.row);
      return [];
    case "job_described":
      return describeJob(state, event.job, event.namespace, event.entrypoint);
    case "job_ended":
      return endJob(state, event.job, event.atMs);
    case "actor_created":
      return createActor(state, event);
    case "actor_placed":
      return placed(state, event);
    case "actor_unplaceable":
      return onCurrent(state, event.actor, event.incarnation, (row) =>
        die(state, row, event.death),
      );
    case "actor_constructed":
      return onCurrent(state, event.actor, event.incarnation, (row) => constructed(state, row));
    case "actor_construct_failed":
      return onCurrent(state, event.actor, event.incarnation, (row) => [
        ...endWorker(row),
        ...die(state, row, event.death),
      ]);
    case "actor_killed":
      return killActor(state, event.actor, event.noRestart, event.reason);
    case "actor_exiting":
      return exiting(state, event.actor, event.reason);
    case "actor_out_of_scope":
      return outOfScope(state, event.actor);
    case "group_created":
      return createGroup(state, event);
    case "group_ready":
      return groupReady(state, event.group, event.atMs);
    case "group_removed":
      return endGroup(state, event.group);
    case "worker_gone":
      return workerGone(state, event);
  }
}

function describeJob(
  state: GcsState,
  job: number,
  namespace: string,
  entrypoint: string,
): GcsEffect[] {
  const row = state.jobs.get(job);
  if (row !== undefined) {
    row.namespace = namespace;
    row.entrypoint = entrypoint;
  }
  return [];
}

function endJob(state: GcsState, job: number, atMs: number): GcsEffect[] {
  const row = state.jobs.get(job);
  if (row === undefined || row.endedAtMs !== null) return [];
  row.endedAtMs = atMs;
  const effects: GcsEffect[] = [];
  for (const actor of state.actors.values()) {
    if (actor.job !== job || actor.spec.detached || actor.phase === ActorPhase.dead) continue;
    effects.push(...endWorker(actor), ...die(state, actor, diedBecause("its job ended")));
  }
  for (const group of groupsOfJob(state, job)) effects.push(...removeGroup(state, group.id));
  effects.push({ type: "end_job", job });
  boundJobs(state);
  return effects;
}

// Its actors are dead at once and do not start again; their workers are ended by the raylet.
function endGroup(state: GcsState, group: string): GcsEffect[] {
  const effects = removeGroup(state, group);
  if (effects.length === 0) return [];
  for (const row of state.actors.values()) {
    if (row.spec.group !== group || row.phase === ActorPhase.dead) continue;
    const death: Death =
      row.phase === ActorPhase.pending && row.peer === null
        ? {
            code: "ACTOR_UNSCHEDULABLE",
            reason: `The actor is not schedulable: Could not create the actor because its associated placement group was removed.\nRequired placement group ${group} is removed.`,
            cause: null,
          }
        : diedBecause(`its worker was ended since its placement group ${group} was removed`);
    effects.push(...die(state, row, death));
  }
  return effects;
}

function boundJobs(state: GcsState): void {
  const ended = [...state.jobs.values()].filter((row) => row.endedAtMs !== null);
  for (const row of ended.slice(0, Math.max(0, ended.length - gcsLimits.maxEndedJobs)))
    state.jobs.delete(row.job);
}

function createActor(
  state: GcsState,
  event: Extract<GcsEvent, { type: "actor_created" }>,
): GcsEffect[] {
  const row = actorRow(event.spec, event.job, event.owner, ActorPhase.pending);
  state.actors.set(event.spec.actor, row);
  const name = event.spec.handle.name;
  if (name !== null) state.names.set(nameKey(event.spec.namespace, name), event.spec.actor);
  return [{ type: "place", actor: event.spec.actor, incarnation: 0 }];
}

function onCurrent(
  state: GcsState,
  actor: string,
  incarnation: number,
  then: (row: ActorRow) => GcsEffect[],
): GcsEffect[] {
  const row = state.actors.get(actor);
  if (row === undefined || row.incarnation !== incarnation || row.phase === ActorPhase.dead)
    return [];
  return then(row);
}

function placed(state: GcsState, event: Extract<GcsEvent, { type: "actor_placed" }>): GcsEffect[] {
  const row = state.actors.get(event.actor);
  const wanted =
    row !== undefined &&
    row.incarnation === event.incarnation &&
    row.peer === null &&
    (row.phase === ActorPhase.pending || row.phase === ActorPhase.restarting);
  if (!wanted)
    return [
      { type: "return_lease", lease: event.lease },
      { type: "kill", peer: event.peer, force: false },
    ];
  row.peer = event.peer;
  row.pid = event.pid;
  row.lease = event.lease;
  return [
    { type: "construct", actor: event.actor, incarnation: event.incarnation, peer: event.peer },
  ];
}

function constructed(state: GcsState, row: ActorRow): GcsEffect[] {
  if (row.peer === null) return [];
  row.phase = ActorPhase.alive;
  if (row.ending !== null) return [...endWorker(row), ...die(state, row, diedBecause(row.ending))];
  return [{ type: "publish", actor: row.spec.actor }];
}

function killActor(
  state: GcsState,
  actor: string,
  noRestart: boolean,
  reason: string,
): GcsEffect[] {
  const row = state.actors.get(actor);
  if (row === undefined || row.phase === ActorPhase.dead) return [];
  const kill: GcsEffect[] =
    row.peer === null ? [] : [{ type: "kill", peer: row.peer, force: true }];
  // Without a peer there is nothing to restart yet: a kill with restart allowed is then a no-op.
  if (!noRestart && mayRestart(row)) return kill;
  return [...kill, ...die(state, row, diedBecause(reason))];
}

// The actor leaves by itself: its worker ends once it has answered what it took, and is not started again.
function exiting(state: GcsState, actor: string, reason: string): GcsEffect[] {
  const row = state.actors.get(actor);
  if (row !== undefined && row.phase !== ActorPhase.dead) row.ending = reason;
  return [];
}

function outOfScope(state: GcsState, actor: string): GcsEffect[] {
  const row = state.actors.get(actor);
  if (row === undefined || row.phase === ActorPhase.dead || row.spec.detached) return [];
  const reason = "every handle to it went out of scope";
  if (row.phase !== ActorPhase.alive) {
    row.ending = reason;
    return [];
  }
  return [...endWorker(row), ...die(state, row, diedBecause(reason))];
}

function workerGone(
  state: GcsState,
  event: Extract<GcsEvent, { type: "worker_gone" }>,
): GcsEffect[] {
  const row = findByPeer(state, event.peer);
  if (row === null) return event.clean ? [] : orphansOf(state, event.peer);
  return [...orphansOf(state, event.peer), ...actorGone(state, row, event)];
}

function actorGone(
  state: GcsState,
  row: ActorRow,
  event: Extract<GcsEvent, { type: "worker_gone" }>,
): GcsEffect[] {
  row.peer = null;
  row.lease = 0;
  if (event.intended || !mayRestart(row))
    return die(state, row, diedBecause(row.ending ?? event.reason));
  row.restarts += 1;
  row.incarnation += 1;
  row.phase = ActorPhase.restarting;
  return [
    { type: "publish", actor: row.spec.actor },
    { type: "place", actor: row.spec.actor, incarnation: row.incarnation },
  ];
}

/** Whether an end that nobody asked for is followed by a new process. */
export function mayRestart(row: ActorRow): boolean {
  const max = row.spec.maxRestarts;
  return row.ending === null && (max < 0 || row.restarts < max);
}

function findByPeer(state: GcsState, peer: bigint): ActorRow | null {
  for (const row of state.actors.values())
    if (row.peer === peer && row.phase !== ActorPhase.dead) return row;
  return null;
}

function endWorker(row: ActorRow): GcsEffect[] {
  return row.peer === null ? [] : [{ type: "kill", peer: row.peer, force: false }];
}

// What a process created ends with it.
function orphansOf(state: GcsState, owner: bigint): GcsEffect[] {
  const effects: GcsEffect[] = [];
  for (const row of state.actors.values()) {
    if (row.owner !== owner || row.spec.detached || row.phase === ActorPhase.dead) continue;
    effects.push(...endWorker(row), ...die(state, row, diedBecause("its owner has died")));
  }
  return effects;
}

function die(state: GcsState, row: ActorRow, death: Death): GcsEffect[] {
  const peer = row.peer;
  row.phase = ActorPhase.dead;
  row.death = death;
  row.peer = null;
  const name = row.spec.handle.name;
  if (name !== null) {
    const key = nameKey(row.spec.namespace, name);
    if (state.names.get(key) === row.spec.actor) state.names.delete(key);
  }
  state.deadActors.push(row.spec.actor);
  while (state.deadActors.length > gcsLimits.maxDeadActors) {
    const oldest = state.deadActors.shift();
    if (oldest !== undefined) state.actors.delete(oldest);
  }
  return [
    { type: "publish", actor: row.spec.actor },
    { type: "drop_spec", actor: row.spec.actor },
    ...(peer === null ? [] : orphansOf(state, peer)),
  ];
}

function diedBecause(reason: string): Death {
  return { code: "ACTOR_DIED", reason, cause: null };
}
