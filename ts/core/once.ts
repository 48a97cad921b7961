// SPDX-License-Identifier: Apache-2.0
// Calls that run once for all programs of a runtime: the first to claim a name submits, the others get the refs of its
// returns. The node service keeps the refs (ts/gcs/once.ts).

import { idFromBytes, idToBytes } from "../base/ids.ts";
import { lasting, type ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";

/** The refs under `name`: those of whoever was first, or of `submit`. They live as long as this process is connected. */
export function claimOnce(
  current: Connection,
  name: string,
  submit: () => ObjectRef | ObjectRef[],
): ObjectRef | ObjectRef[] {
  const fields = { ns: current.place.namespace, name };
  const { ids } = current.requestNow("once.claim", fields);
  if (Array.isArray(ids)) {
    const known = ids.map((id) => lasting(current.store.refOfId(idFromBytes(id as Uint8Array))));
    return known.length === 1 ? (known[0] as ObjectRef) : known;
  }
  try {
    const refs = submit();
    const all = Array.isArray(refs) ? refs : [refs];
    for (const ref of all) lasting(ref);
    current.requestNow("once.set", { ...fields, ids: all.map((ref) => idToBytes(ref.id)) });
    return refs;
  } catch (error) {
    current.requestNow("once.drop", fields);
    throw error;
  }
}
