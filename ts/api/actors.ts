// SPDX-License-Identifier: Apache-2.0
// Actors by name, their end, and what a task or actor knows about itself.

import { makeError } from "../base/errors.ts";
import { idFromBytes, idToBytes } from "../base/ids.ts";
import { coreOf, type HandleMeta, isActorHandle, makeActorHandle } from "../core/actor-handle.ts";
import { connection } from "../core/context.ts";
import { ActorExit, signalOf, taskContext } from "../core/task-context.ts";
import type { ActorHandle } from "../core/types.ts";
import { lastHeartbeat } from "./published.ts";

/** The handle of a named actor. Rejects with ActorHandleNotFoundError. */
export async function getActor<T>(
  name: string,
  options: { readonly namespace?: string } = {},
): Promise<ActorHandle<T>> {
  if (typeof name !== "string" || name === "")
    throw makeError("INVALID_ARGUMENT", "getActor takes a name");
  const current = connection();
  const answer = await current.request("actor.byName", {
    name,
    namespace: options.namespace ?? current.place.namespace,
  });
  const ref = current.store.refOfId(idFromBytes(answer.actor as Uint8Array));
  return makeActorHandle(current, ref, answer.handle as HandleMeta) as ActorHandle<T>;
}

/** Names of actors; `allNamespaces` for those of all. */
export async function listNamedActors(
  options: { readonly allNamespaces?: boolean } = {},
): Promise<{ name: string; namespace: string }[]> {
  const current = connection();
  const answer = await current.request("actor.list", {
    allNamespaces: options.allNamespaces ?? false,
    namespace: current.place.namespace,
  });
  return answer.actors as { name: string; namespace: string }[];
}

/** Ends an actor's process now; its calls fail with ActorDiedError. `restart: true` lets it start again, as maxRestarts allows. */
export async function kill(
  actor: object,
  options: { readonly restart?: boolean; readonly noRestart?: boolean } = {},
): Promise<void> {
  if (!isActorHandle(actor))
    throw makeError("INVALID_ARGUMENT", "kill takes an actor handle; use cancel(ref) for tasks");
  const core = coreOf(actor);
  const noRestart = options.noRestart ?? options.restart !== true;
  await core.connection.request("actor.kill", { actor: idToBytes(core.ref.id), noRestart });
}

/** Ends the actor that runs this method, after the call was answered. It is not started again. */
export function exitActor(): never {
  const context = taskContext.getStore();
  if (context?.actorId == null)
    throw makeError("INVALID_ARGUMENT", "exitActor() works inside of an actor's methods");
  throw new ActorExit("the actor leaves");
}

/** The handle of the actor that runs this method: to give to others, or to call itself later. */
export function self<T>(): ActorHandle<T> {
  const context = taskContext.getStore();
  if (context?.actorId == null || context.actorMeta === null)
    throw makeError("INVALID_ARGUMENT", "self() works inside of an actor's methods");
  const current = connection();
  const ref = current.store.importRef(context.actorId);
  return makeActorHandle(current, ref, context.actorMeta) as ActorHandle<T>;
}

/** Fires when the running task or method is cancelled. Outside of one: never. */
export function currentSignal(): AbortSignal {
  return signalOf(taskContext.getStore());
}

/** Who and where this code is. */
export interface RuntimeContext {
  readonly jobId: string;
  readonly nodeId: string;
  readonly workerId: string;
  readonly namespace: string;
  readonly address: string;
  /** Null outside of tasks and methods. */
  readonly taskId: string | null;
  readonly taskName: string | null;
  readonly actorId: string | null;
  readonly actorName: string | null;
  /** 0 at the first run of a task. */
  readonly attempt: number;
  /** True when the actor's process is not its first. */
  readonly actorRestarted: boolean;
  /** What the attempt before said by `heartbeat(details)`; null at the first attempt. */
  readonly lastHeartbeat: unknown;
}

/** Who and where this code is; holds after awaits. */
export function runtimeContext(): RuntimeContext {
  const current = connection();
  const context = taskContext.getStore();
  return {
    ...current.identity(),
    namespace: current.place.namespace,
    address: current.place.address,
    taskId: context?.taskId ?? null,
    taskName: context?.taskName ?? null,
    actorId: context?.actorId ?? null,
    actorName: context?.actorName ?? null,
    attempt: context?.attempt ?? 0,
    actorRestarted: context?.actorRestarted ?? false,
    get lastHeartbeat() {
      return context === undefined || context.attempt === 0 ? null : lastHeartbeat(context.taskId);
    },
  };
}
