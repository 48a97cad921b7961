// SPDX-License-Identifier: Apache-2.0
// Which calls the running calls have submitted, so that cancelling one cancels them too.
//
// A child is known by the handle of its first return. While a ref of it lives nothing is held; when the last ref of a
// pending child is dropped, its handle is kept until the parent ends, so that forgotten children can be cancelled as well.
// Invariants: (1) a kept handle is released when its parent ends; (2) nothing is noted outside of calls.

import type { ChildCalls, TaskContext } from "../core/task-context.ts";
import { type NativeBinding, ObjectStatus } from "../native/binding.ts";

/** Forgotten children of one call are looked through when so many have come. */
const pruneAt = 64;

export class Children {
  readonly #native: NativeBinding;
  readonly #parents = new Map<number, ChildCalls>();
  readonly #nextPrune = new WeakMap<ChildCalls, number>();

  constructor(native: NativeBinding) {
    this.#native = native;
  }

  /** A call of `parent` was submitted. */
  note(handle: number, parent: ChildCalls): void {
    if (!parent.ended) this.#parents.set(handle, parent);
  }

  /** A ref is dropped: true when its handle is kept here. */
  keeps(handle: number): boolean {
    if (this.#parents.size === 0) return false;
    const parent = this.#parents.get(handle);
    if (parent === undefined) return false;
    this.#parents.delete(handle);
    if (parent.ended || this.#native.status(handle) !== ObjectStatus.pending) return false;
    parent.forgotten.push(handle);
    if (parent.forgotten.length >= (this.#nextPrune.get(parent) ?? pruneAt)) this.#prune(parent);
    return true;
  }

  /** The parent has ended: its children go on by themselves. */
  end(parent: ChildCalls): void {
    parent.ended = true;
    if (parent.forgotten.length === 0) return;
    for (const handle of parent.forgotten.splice(0)) this.#native.releaseHandle(handle);
  }

  /** Runs `cancel` for each child that may still run. */
  each({ children }: TaskContext, cancel: (handle: number) => void): void {
    for (const [handle, parent] of this.#parents) if (parent === children) cancel(handle);
    for (const handle of children.forgotten) cancel(handle);
  }

  #prune(parent: ChildCalls): void {
    const pending: number[] = [];
    for (const handle of parent.forgotten) {
      if (this.#native.status(handle) === ObjectStatus.pending) pending.push(handle);
      else this.#native.releaseHandle(handle);
    }
    parent.forgotten.splice(0, parent.forgotten.length, ...pending);
    this.#nextPrune.set(parent, Math.max(pruneAt, 2 * pending.length));
  }
}
