// SPDX-License-Identifier: Apache-2.0
// What becomes of refs that the garbage collector found: their handles are given back, many in one crossing.
//
// V8 calls a finalizer for each, all of one collection in one task; the batch goes out in the microtask after it.

import type { PolyrayError } from "../base/errors.ts";
import { type NativeBinding, Released } from "../native/binding.ts";
import { type DecodeContext, decode } from "./serialize.ts";

/** What it asks of its store. */
export interface CollectedHome {
  /** Attached, and the node lives. */
  readonly isOpen: boolean;
  /** True: a worker's child call keeps the handle. */
  keeps(handle: number): boolean;
  /** No ref of this environment has the handle any more. */
  ended(handle: number): void;
  /** The object failed: no ref is left that can ask for its error. The count is the callee's to give back. */
  failed(handle: number): void;
}

const firstBatch = 256;
/** A batch of more gives its memory back. */
const mostKept = 65_536;

/** The finalizers of a store's refs. */
export class Collected {
  readonly registry: FinalizationRegistry<{ readonly handle: number }>;
  readonly #native: NativeBinding;
  readonly #home: CollectedHome;
  #batch = new Uint32Array(firstBatch);
  #count = 0;

  constructor(native: NativeBinding, home: CollectedHome) {
    this.#native = native;
    this.#home = home;
    this.registry = new FinalizationRegistry(({ handle }) => {
      if (handle !== 0) this.#add(handle);
    });
  }

  #add(handle: number): void {
    if (this.#count === 0) queueMicrotask(() => this.#giveBack());
    if (this.#count === this.#batch.length) {
      const larger = new Uint32Array(2 * this.#count);
      larger.set(this.#batch);
      this.#batch = larger;
    }
    this.#batch[this.#count++] = handle;
  }

  #giveBack(): void {
    const home = this.#home;
    const given = this.#count;
    this.#count = 0;
    const handles = this.#batch;
    if (given > mostKept) this.#batch = new Uint32Array(firstBatch);
    if (!home.isOpen) return;
    let count = 0;
    for (let i = 0; i < given; i++) {
      const handle = handles[i] as number;
      if (home.keeps(handle)) home.ended(handle);
      else handles[count++] = handle;
    }
    const fates = handles.slice(0, count);
    this.#native.releaseHandles(fates, count);
    for (let i = 0; i < count; i++) {
      if (fates[i] === Released.last) home.ended(handles[i] as number);
      else if (fates[i] === Released.failed) home.failed(handles[i] as number);
    }
  }
}

/** Says on stderr that a call failed whose error nobody asked for. */
export function tellUnseen(native: NativeBinding, handle: number, context: DecodeContext): void {
  if (process.env.POLYRAY_IGNORE_UNHANDLED_ERRORS === "1") return;
  try {
    const bytes = native.read(handle, false);
    const error = bytes === null ? null : (decode(bytes, context) as Partial<PolyrayError>);
    if (error === null || error.code === "TASK_CANCELLED") return;
    process.stderr.write(
      `polyray: a call failed and nobody asked for its result (${native.idOf(handle)}): ${error.message}\n`,
    );
  } catch {
    // an error that this process cannot read
  }
}
