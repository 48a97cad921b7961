// SPDX-License-Identifier: Apache-2.0
// Moving instead of sharing: a buffer that its sender gives up, and an object bound to the life of an actor.

import { makeError } from "../base/errors.ts";
import { idToBytes } from "../base/ids.ts";
import { coreOf, isActorHandle } from "../core/actor-handle.ts";
import { connection } from "../core/context.ts";
import { ObjectRef } from "../object/ref.ts";

/**
 * Moves a buffer into the store and gives its ref, to be used as an argument: the receiver reads it in place. As after
 * `postMessage` with a transfer list, the buffer is empty here from now on.
 */
export function transfer<T extends ArrayBuffer | ArrayBufferView>(buffer: T): ObjectRef<T>;
/** Binds an object to an actor: it lives at least as long as the actor, also when its maker ends. */
export function transfer(ref: ObjectRef<unknown>, owner: object): Promise<void>;
export function transfer(
  what: ArrayBuffer | ArrayBufferView | ObjectRef<unknown>,
  owner?: object,
): ObjectRef<unknown> | Promise<void> {
  if (what instanceof ObjectRef) return bind(what, owner);
  const buffer = ArrayBuffer.isView(what) ? what.buffer : what;
  if (!(buffer instanceof ArrayBuffer))
    throw makeError(
      "INVALID_ARGUMENT",
      "transfer takes an ArrayBuffer or a view of one (a SharedArrayBuffer is shared already), or a ref and an actor",
    );
  const ref = connection().store.put(what);
  structuredClone(buffer, { transfer: [buffer] });
  return ref;
}

/** @internal Binds an object to the life of an actor. */
export async function bind(ref: ObjectRef<unknown>, owner: unknown): Promise<void> {
  if (typeof owner !== "object" || owner === null || !isActorHandle(owner))
    throw makeError("INVALID_ARGUMENT", "the owner of an object is an actor handle");
  ObjectRef.handleOf(ref);
  const core = coreOf(owner);
  await core.connection.request("object.bind", {
    actor: idToBytes(core.ref.id),
    id: idToBytes(ref.id),
  });
}
