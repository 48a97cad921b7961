// SPDX-License-Identifier: Apache-2.0
// The error that calls to a dead actor get. Pure.

import { ActorDiedError } from "../base/errors.ts";
import { decode, encodeError, plainContext } from "../object/serialize.ts";
import type { ActorRow, Death } from "./state.ts";

/** Encodes the error of a dead actor, with what its constructor threw as the cause. */
export function deathEnvelope(row: ActorRow, death: Death, nodeId: string): Uint8Array {
  const cause = readError(death.cause);
  const { className, name } = row.spec.handle;
  const shown = name === null ? className : `${className} "${name}"`;
  const detail = cause instanceof Error ? ` ${cause.message}` : "";
  const which = `${shown} (${row.spec.actor})`;
  const unplaced = death.reason.startsWith("The actor is not schedulable");
  const needs = "[unschedulable] ";
  const error = new ActorDiedError(
    unplaced
      ? death.reason
      : death.reason.startsWith(needs)
        ? `${needs}${which} was never placed: ${death.reason.slice(needs.length)}`
        : `[actor died] ${which} is dead: ${death.reason.replace(/\.$/, "")}.${detail}`,
    {
      code: death.code,
      actorId: row.spec.actor,
      nodeId,
      pid: row.pid === 0 ? null : row.pid,
      actor: {
        className: row.spec.qualName ?? className,
        name,
        namespace: row.spec.namespace,
        reason: death.reason,
      },
      ...(cause instanceof Error ? { cause } : {}),
    },
  );
  return encodeError(error, plainContext).toBytes();
}

/**
 * The value of an error's envelope. One that holds refs or handles cannot be read here (the service imports none): its text
 * is lost, the outcome is not.
 */
export function readError(bytes: Uint8Array | null): unknown {
  if (bytes === null) return null;
  try {
    return decode(bytes, plainContext);
  } catch {
    return null;
  }
}
