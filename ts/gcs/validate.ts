// SPDX-License-Identifier: Apache-2.0
// Checks the invariants of GcsState after a step, in tests and simulations. Pure; returns what is wrong as sentences.

import { ActorPhase, type GcsState, gcsLimits } from "./state.ts";

/** An empty list when all invariants of state.ts hold. */
export function validate(state: GcsState): string[] {
  const wrong: string[] = [];
  for (const [key, id] of state.names) {
    const row = state.actors.get(id);
    if (row === undefined) wrong.push(`name ${key} points at no actor`);
    else if (row.phase === ActorPhase.dead) wrong.push(`name ${key} points at a dead actor`);
  }
  for (const [id, row] of state.actors) {
    if (row.phase === ActorPhase.alive && row.peer === null)
      wrong.push(`actor ${id} is alive without a peer`);
    if (row.phase === ActorPhase.dead && row.death === null)
      wrong.push(`actor ${id} is dead without a reason`);
    if (row.phase === ActorPhase.dead && row.peer !== null)
      wrong.push(`dead actor ${id} has a peer`);
    if (row.spec.maxRestarts >= 0 && row.restarts > row.spec.maxRestarts)
      wrong.push(`actor ${id} restarted too often`);
    if (row.incarnation !== row.restarts)
      wrong.push(`actor ${id}: incarnation ${row.incarnation}, restarts ${row.restarts}`);
  }
  if (state.deadActors.length > gcsLimits.maxDeadActors)
    wrong.push("too many dead actors are kept");
  return wrong;
}
