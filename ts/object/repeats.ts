// SPDX-License-Identifier: Apache-2.0
// Whether a list of refs names one object twice, without a set per list: one mark per slot of a handle, with the number of
// the round that set it.

import { ObjectRef } from "./ref.ts";

/** The slot in a handle (native/node_api/handles.h). */
const slotMask = 0x7fffff;

/** The marks of one environment. */
export class Repeats {
  #marks = new Uint32Array(1024);
  #round = 0;

  /** Whether two of the refs are of one object. Throws ObjectFreedError for a released one. */
  in(refs: readonly ObjectRef<unknown>[]): boolean {
    this.#round = this.#round === 0xffffffff ? 1 : this.#round + 1;
    let marks = this.#marks;
    for (let i = 0; i < refs.length; i++) {
      const slot = ObjectRef.handleOf(refs[i] as ObjectRef<unknown>) & slotMask;
      if (slot >= marks.length) {
        marks = new Uint32Array(2 ** Math.ceil(Math.log2(slot + 1)));
        marks.set(this.#marks);
        this.#marks = marks;
      }
      if (marks[slot] === this.#round) return true;
      marks[slot] = this.#round;
    }
    return false;
  }
}
