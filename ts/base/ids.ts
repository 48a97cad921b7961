// SPDX-License-Identifier: Apache-2.0
// Object ids: 16 bytes, u32 nodeTag | u32 entryIndex | u64 unique, little-endian. In TypeScript an id is the
// 32-character lowercase hex of those bytes. Pure functions, no state.

/** Bytes of an id. */
export const idBytes = 16;

/** The three fields of an object id. */
export interface IdParts {
  readonly nodeTag: number;
  readonly entryIndex: number;
  readonly unique: bigint;
}

const hexOfByte: readonly string[] = Array.from({ length: 256 }, (_, i) =>
  i.toString(16).padStart(2, "0"),
);
const idPattern = /^[0-9a-f]{32}$/;

/** True for a 32-character lowercase hex string. */
export function isId(text: unknown): text is string {
  return typeof text === "string" && idPattern.test(text);
}

/** Reads the id at an offset. REQUIRES: 16 bytes there. */
export function idFromBytes(bytes: Uint8Array, offset = 0): string {
  if (offset < 0 || offset + idBytes > bytes.length) throw new RangeError("an id needs 16 bytes");
  let text = "";
  for (let i = 0; i < idBytes; i++) text += hexOfByte[bytes[offset + i] as number];
  return text;
}

/** The id of four little-endian words. */
export function idOfWords(a: number, b: number, c: number, d: number): string {
  return hexOfWord(a) + hexOfWord(b) + hexOfWord(c) + hexOfWord(d);
}

function hexOfWord(word: number): string {
  return ((hexOfByte[word & 255] as string) +
    hexOfByte[(word >>> 8) & 255] +
    hexOfByte[(word >>> 16) & 255] +
    hexOfByte[word >>> 24]) as string;
}

/** Writes an id at an offset. */
export function writeId(id: string, target: Uint8Array, offset = 0): void {
  if (!isId(id)) throw new TypeError(`not an id: ${String(id)}`);
  if (offset < 0 || offset + idBytes > target.length) throw new RangeError("an id needs 16 bytes");
  for (let i = 0; i < idBytes; i++)
    target[offset + i] = Number.parseInt(id.slice(2 * i, 2 * i + 2), 16);
}

/** The bytes of an id. */
export function idToBytes(id: string): Uint8Array {
  const bytes = new Uint8Array(idBytes);
  writeId(id, bytes);
  return bytes;
}

/** Splits an id into its fields. */
export function idParts(id: string): IdParts {
  const bytes = idToBytes(id);
  const view = new DataView(bytes.buffer);
  return {
    nodeTag: view.getUint32(0, true),
    entryIndex: view.getUint32(4, true),
    unique: view.getBigUint64(8, true),
  };
}

/** Joins the fields of an id. */
export function idOfParts(parts: IdParts): string {
  const bytes = new Uint8Array(idBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, parts.nodeTag, true);
  view.setUint32(4, parts.entryIndex, true);
  view.setBigUint64(8, parts.unique, true);
  return idFromBytes(bytes);
}
