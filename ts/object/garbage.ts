// SPDX-License-Identifier: Apache-2.0
// Asking V8 to collect, when the object store is short of memory and values that nobody uses any more may still lie in it.
//
// A program need not be started with --expose-gc: the flag is set for a moment, and a fresh context then has the function.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | null = null;

/** A full collection, now. Buffers over the store end in a later turn of the event loop. */
export function collectGarbage(): void {
  if (collect === null) {
    const exposed = (globalThis as { gc?: () => void }).gc;
    if (exposed === undefined) {
      setFlagsFromString("--expose-gc");
      collect = runInNewContext("gc") as () => void;
      setFlagsFromString("--no-expose-gc");
    } else collect = exposed;
  }
  collect();
}
