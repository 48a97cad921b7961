// SPDX-License-Identifier: Apache-2.0
// Objects under names, for other programs of the runtime; and life signs of tasks.

import { InvalidOptionError, makeError } from "../base/errors.ts";
import { idToBytes } from "../base/ids.ts";
import { checkOptions, checks } from "../core/checks.ts";
import { connection } from "../core/context.ts";
import { refOfAnswer, withStored } from "../core/sync-request.ts";
import { taskContext } from "../core/task-context.ts";
import { ObjectRef } from "../object/ref.ts";

/** Options of `publish`. */
export interface PublishOptions {
  /** It is dropped after so long. Default: never. */
  readonly ttlMs?: number;
  /** Replace what has the name. Default: an error. */
  readonly overwrite?: boolean;
  readonly namespace?: string;
}

const publishChecks = {
  ttlMs: checks.positiveMs,
  overwrite: checks.bool,
  namespace: checks.anyText,
};

function named(name: string, namespace: string | undefined, where: string) {
  if (typeof name !== "string" || name === "")
    throw new InvalidOptionError(`[invalid option] ${where} takes a name: a non-empty string.`);
  return { name, ns: namespace ?? connection().place.namespace };
}

/**
 * Gives an object a name: other programs find it by `lookup`, and it lives until `unpublish`, or for `ttlMs`, also when
 * this program ends. Takes a ref, or a value to put.
 */
export async function publish(
  name: string,
  object: unknown,
  options: PublishOptions = {},
): Promise<void> {
  checkOptions(options, publishChecks, "publish");
  const { ttlMs, overwrite, namespace } = options;
  const current = connection();
  const ref = object instanceof ObjectRef ? object : current.store.put(object);
  try {
    ObjectRef.handleOf(ref);
    await current.request("publish.set", {
      ...named(name, namespace, "publish"),
      id: idToBytes(ref.id),
      ttlMs,
      overwrite,
    });
  } finally {
    if (ref !== object) ref[Symbol.dispose]();
  }
}

/** The ref of a published object. Rejects when nothing has that name. */
export async function lookup<T = unknown>(
  name: string,
  options: { readonly namespace?: string } = {},
): Promise<ObjectRef<T>> {
  const current = connection();
  const { id } = await current.request("publish.get", named(name, options.namespace, "lookup"));
  const ref = refOfAnswer(current, id);
  if (ref === null)
    throw makeError(
      "OBJECT_FREED",
      `no object is published as "${name}": it never was, or its time is over`,
    );
  return ref as ObjectRef<T>;
}

/** Takes a name back. False when nothing had it. */
export async function unpublish(
  name: string,
  options: { readonly namespace?: string } = {},
): Promise<boolean> {
  const fields = named(name, options.namespace, "unpublish");
  return (await connection().request("publish.delete", fields)).deleted === true;
}

/** Names of published objects. */
export async function listPublished(
  options: { readonly namespace?: string } = {},
): Promise<string[]> {
  const ns = options.namespace ?? connection().place.namespace;
  return (await connection().request("publish.list", { ns })).names as string[];
}

/**
 * Says that the running task lives, and how far it is. When it is run again, `runtimeContext().lastHeartbeat` has the
 * details of the attempt before: it can go on from there.
 */
export async function heartbeat(details: unknown = null): Promise<void> {
  const context = taskContext.getStore();
  if (context === undefined)
    throw makeError("INVALID_ARGUMENT", "heartbeat() works inside of tasks and actor methods");
  context.abort.controller?.signal.throwIfAborted();
  const current = connection();
  const task = context.taskId;
  await withStored(current, details, (id) => current.request("beat.set", { task, id }));
}

/** What the attempt before said last; null when it said nothing. */
export function lastHeartbeat(taskId: string): unknown {
  const current = connection();
  const ref = refOfAnswer(current, current.requestNow("beat.get", { task: taskId }).id);
  if (ref === null) return null;
  try {
    return current.store.getSync<[unknown]>(ref as ObjectRef<[unknown]>)[0];
  } finally {
    ref[Symbol.dispose]();
  }
}
