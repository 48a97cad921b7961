// SPDX-License-Identifier: Apache-2.0
// The streams among the arguments of the call that is being submitted: found while they are encoded (stream-travel.ts),
// bound to the call when it has its refs (call.ts).

import type { ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";

interface Given {
  shutdown(): Promise<void>;
}

export const handedOver: {
  readonly streams: Given[];
  /** What is told of the call that got them; set with the codec. */
  bind:
    | ((connection: Connection, call: ObjectRef, ofMethod: boolean, given: Given[]) => void)
    | null;
} = { streams: [], bind: null };
