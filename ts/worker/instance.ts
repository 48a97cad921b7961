// SPDX-License-Identifier: Apache-2.0
// The instance of an actor in its process: how it is made, by the constructor or by `static restore`, and how it ends.

import { makeError } from "../base/errors.ts";
import type { HandleMeta } from "../core/actor-handle.ts";
import type { Call } from "./call.ts";
import { handleMetaOf, type LoadedSpec } from "./load-spec.ts";

export type Instance = Record<string, unknown>;

/** The actor of this process. */
export interface Actor {
  readonly id: string;
  readonly name: string | null;
  readonly className: string;
  readonly meta: HandleMeta;
  readonly instance: Instance;
  readonly incarnation: number;
}

/** What the constructor made; for a restarted actor of a class with `static restore`, what that returned, or its promise. */
export function newInstance(call: Call, spec: LoadedSpec, args: readonly unknown[]): unknown {
  const Class = spec.fn as unknown as (new (
    ...args: unknown[]
  ) => Instance) & {
    readonly restore?: unknown;
  };
  return call.incarnation > 0 && typeof Class.restore === "function"
    ? (Class.restore as (...args: unknown[]) => unknown)(...args)
    : new Class(...args);
}

/** @throws INVALID_ARGUMENT when it is no object. */
export function actorOf(call: Call, spec: LoadedSpec, instance: unknown): Actor {
  if (typeof instance !== "object" || instance === null)
    throw makeError(
      "INVALID_ARGUMENT",
      `static restore of ${spec.fields.name} must return the actor's instance, not ${String(instance)}`,
    );
  return {
    id: call.actorId,
    name: spec.fields.actorName,
    className: spec.fields.name,
    meta: handleMetaOf(spec.fields),
    instance: instance as Instance,
    incarnation: call.incarnation,
  };
}

/** Its [Symbol.asyncDispose] or [Symbol.dispose] runs; what that throws is told on stderr. */
export async function endInstance({ instance, className }: Actor): Promise<void> {
  const { [Symbol.asyncDispose]: endAsync, [Symbol.dispose]: end } = instance as {
    [Symbol.asyncDispose]?: () => unknown;
    [Symbol.dispose]?: () => unknown;
  };
  const dispose = endAsync ?? end;
  if (typeof dispose !== "function") return;
  try {
    await dispose.call(instance);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`error while ${className} ended: ${text}\n`);
  }
}
