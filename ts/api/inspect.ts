// SPDX-License-Identifier: Apache-2.0
// What in a value cannot be sent, found without sending: for debugging.

import { UnserializableError } from "../base/errors.ts";
import { handleParts, isActorHandle } from "../core/actor-handle.ts";
import { connectionOrNull } from "../core/context.ts";
import { encodeFunctionValue } from "../core/function-values.ts";
import { type EncodeContext, encode } from "../object/serialize.ts";

/** One thing that cannot be sent. */
export interface Obstacle {
  /** Where it is, such as `value.pool.socket` or `task > helper > pool`. */
  readonly path: string;
  readonly reason: string;
}

/** Whether a value can be sent, and what is in the way. Looks at each top-level member on its own, so that it finds several. */
export function inspectSerializability(
  value: unknown,
  name = "value",
): { ok: boolean; obstacles: Obstacle[] } {
  const obstacles: Obstacle[] = [];
  if (tryOne(value, name) === null) return { ok: true, obstacles };
  if (typeof value === "object" && value !== null) {
    for (const [key, member] of Object.entries(value)) {
      const found = tryOne(member, Array.isArray(value) ? `${name}[${key}]` : `${name}.${key}`);
      if (found !== null) obstacles.push(found);
    }
  }
  const whole = tryOne(value, name);
  if (obstacles.length === 0 && whole !== null) obstacles.push(whole);
  return { ok: false, obstacles };
}

/** For encodings that are thrown away when no runtime is there. */
export const checkContext: EncodeContext = {
  refIdOf: () => null,
  handleOf: (one) => (isActorHandle(one) ? handleParts(one) : null),
  encodeFunction: encodeFunctionValue,
};

function tryOne(value: unknown, name: string): Obstacle | null {
  const context = connectionOrNull()?.store.context ?? checkContext;
  try {
    encode(value, context, name);
    return null;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return {
      path: (error instanceof UnserializableError ? error.path : null) ?? name,
      reason: error.message,
    };
  }
}
