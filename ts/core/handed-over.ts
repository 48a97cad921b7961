// SPDX-License-Identifier: Apache-2.0
// The streams among the arguments of the call that is being submitted: found while they are encoded (stream-travel.ts),
// bound to the call when it has its refs (call.ts).

import { PolyrayError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";

/** What stands between a stream and its reader. */
export interface Given {
  shutdown(): Promise<void>;
}

/** Nobody will read these. */
export function endStreams(given: readonly Given[] | null): void {
  for (const items of given ?? []) items.shutdown().catch(notThere);
}

/** The queue may be gone before us. */
export function notThere(error: unknown): void {
  if (!(error instanceof PolyrayError)) throw error;
}

export const handedOver: {
  /** Found so far in the arguments that are being encoded. Encoding them may submit other calls, which have their own. */
  streams: Given[] | null;
  /** Those of the arguments that were encoded last: the submitter takes them at once. */
  found: Given[] | null;
  /** What is told of the call that got them; set with the codec. */
  bind:
    | ((connection: Connection, call: ObjectRef, ofMethod: boolean, given: Given[]) => void)
    | null;
} = { streams: null, found: null, bind: null };
