// SPDX-License-Identifier: Apache-2.0
//
// Goal: an envelope given as pieces is the envelope that `writeTo` writes, byte for byte.
// Method: pieces are laid out over ones, with zeros between them, and compared.

import t from "tap";
import {
  type EncodeContext,
  encode,
  encodeArgs,
  plainContext,
} from "../../../ts/object/serialize.ts";

const context: EncodeContext = {
  ...plainContext,
  encodeFunction: () => ({ captured: new Float64Array(500).fill(3), more: new Uint8Array(5000) }),
};

function assembled(size: number, parts: readonly Uint8Array[], offsets: Float64Array): Uint8Array {
  const bytes = new Uint8Array(size).fill(1);
  let end = 0;
  parts.forEach((part, index) => {
    const start = offsets[index] as number;
    if (start < end) throw new Error(`piece ${index} begins before its neighbour ends`);
    bytes.fill(0, end, start);
    bytes.set(part, start);
    end = start + part.length;
  });
  return bytes.fill(0, end);
}

const big = new Uint8Array(100_000).fill(7);
const values: Readonly<Record<string, unknown>> = {
  plain: { a: [1, "two", null] },
  "a long body": Array.from({ length: 5000 }, (_, i) => i * 1.5),
  bytes: big,
  "odd sizes": [big.subarray(0, 4097), new Float32Array(1001), big.subarray(3, 5000)],
  "one buffer twice": [big, { again: big }],
  "an empty array": new Float64Array(0),
  "a function that captured arrays": { fn: () => 1, after: big.subarray(0, 999) },
};

for (const [name, value] of Object.entries(values)) {
  t.test(`pieces of ${name} make the envelope`, async (t) => {
    for (const encoded of [encode(value, context), encodeArgs([value, 1], { value }, context)]) {
      const { parts, offsets } = encoded.pieces();
      const bytes = assembled(encoded.size, parts, offsets);
      t.equal(Buffer.compare(bytes, encoded.toBytes()), 0);
    }
  });
}
