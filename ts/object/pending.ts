// SPDX-License-Identifier: Apache-2.0
// Who waits for which handle in this environment.
//
// One waiter per get and handle, and one passive one per ref that a wait looked at; the first settle takes them all out.
// `size` is the number of waiters that are not passive: the store keeps the event loop alive while it is not 0.
// Invariant: a waiter is settled exactly once, or removed.

import { makeError, type PolyrayError } from "../base/errors.ts";
import { ObjectStatus } from "../native/binding.ts";

/** Something that waits for an object. */
export interface Waiter {
  settle(handle: number, status: number): void;
  /** Only listens: it keeps no event loop alive. */
  readonly passive?: boolean;
}

const weight = (waiter: Waiter): number => (waiter.passive === true ? 0 : 1);

/** The status that waiters are settled with when the store closes. */
export const closedStatus = 255;

/** Why an object of this status has no value. `closed`: why the store is closed, if it is. */
export function absentError(status: number, id: string, closed: PolyrayError | null): PolyrayError {
  if (status === closedStatus) return closed ?? makeError("CLOSED", "the runtime was shut down");
  if (status === ObjectStatus.gone)
    return makeError(
      "OBJECT_FREED",
      `${id} is gone: it was freed, or the process that made it ended`,
    );
  return makeError("OBJECT_LOST", `${id} has status ${status}`);
}

/** Waiters by handle. */
export class Pending {
  readonly #byHandle = new Map<number, Waiter | Waiter[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(handle: number, waiter: Waiter): void {
    const present = this.#byHandle.get(handle);
    if (present === undefined) this.#byHandle.set(handle, waiter);
    else if (Array.isArray(present)) present.push(waiter);
    else this.#byHandle.set(handle, [present, waiter]);
    this.#size += weight(waiter);
  }

  /** Takes one waiter back; true when nobody waits for the handle any more. */
  remove(handle: number, waiter: Waiter): boolean {
    const present = this.#byHandle.get(handle);
    if (present === waiter) {
      this.#byHandle.delete(handle);
      this.#size -= weight(waiter);
      return true;
    }
    if (!Array.isArray(present)) return false;
    const at = present.indexOf(waiter);
    if (at < 0) return false;
    present.splice(at, 1);
    this.#size -= weight(waiter);
    if (present.length > 0) return false;
    this.#byHandle.delete(handle);
    return true;
  }

  settle(handle: number, status: number): void {
    const present = this.#byHandle.get(handle);
    if (present === undefined) return;
    this.#byHandle.delete(handle);
    if (Array.isArray(present)) {
      for (const waiter of present) this.#size -= weight(waiter);
      for (const waiter of present) waiter.settle(handle, status);
    } else {
      this.#size -= weight(present);
      present.settle(handle, status);
    }
  }

  /** All handles that are waited for. */
  handles(): number[] {
    return [...this.#byHandle.keys()];
  }
}
