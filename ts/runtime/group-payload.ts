// SPDX-License-Identifier: Apache-2.0
// The payload of RayletOp.groupAdd and groupRemove: GroupSpec of native/wire/messages.h and its items, as bytes.

import { groupAmounts } from "../base/group-resources.ts";
import type { GroupRow } from "../gcs/state.ts";

const headBytes = 64;
const idBytes = 48;
const itemBytes = 64;

/** `possible` null: only the id is told (remove). */
export function groupPayload(row: GroupRow, possible: boolean | null): Uint8Array {
  const { need, extra } = groupAmounts(row.id, possible === null ? [] : row.bundles);
  const items = [...Object.entries(need), ...Object.entries(extra)];
  const bytes = Buffer.alloc(headBytes + items.length * itemBytes);
  bytes.write(row.id, 0, idBytes - 1, "latin1");
  bytes.writeUInt32LE(Object.keys(need).length, idBytes);
  bytes.writeUInt32LE(Object.keys(extra).length, idBytes + 4);
  bytes.writeUInt32LE(possible === false ? 1 : 0, idBytes + 8);
  items.forEach(([name, amount], index) => {
    const at = headBytes + index * itemBytes;
    bytes.writeBigUInt64LE(BigInt(Math.round(amount)), at);
    bytes.write(name, at + 8, itemBytes - 9, "utf8");
  });
  return bytes;
}
