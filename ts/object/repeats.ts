// SPDX-License-Identifier: Apache-2.0
// Whether a list of handles names one object twice, without a set per list: one mark per slot of a handle, with the number of
// the round that set it.

/** The slot in a handle (native/node_api/handles.h). */
const slotMask = 0x7fffff;

/** The marks of one environment. */
export class Repeats {
  #marks = new Uint32Array(1024);
  #round = 0;

  /** Whether two of the handles are of one object. */
  in(handles: Uint32Array): boolean {
    this.#round = this.#round === 0xffffffff ? 1 : this.#round + 1;
    let marks = this.#marks;
    for (let i = 0; i < handles.length; i++) {
      const slot = (handles[i] as number) & slotMask;
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
