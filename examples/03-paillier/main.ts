// SPDX-License-Identifier: Apache-2.0
// Paillier encryption of 10,000 numbers: one task for each, against 20 batches of 500. Bigints travel as they are.
//
// `main.ts [how many]`

import assert from "node:assert/strict";
import { get, init, remote } from "polyray";
import { decrypt, encrypt, generateKeys } from "./paillier.ts";

const count = Number(process.argv[2] ?? 10_000);
const batch = 500;

const encryptOne = remote(encrypt);
const encryptBatch = remote((n: bigint, values: number[]) =>
  values.map((value) => encrypt(n, value)),
);

await using _runtime = await init();
const { n, lambda } = generateKeys(256);
const numbers = Array.from({ length: count }, (_, i) => i);
await get([0, 1, 2, 3].map((x) => encryptOne.remote(n, x))); // workers are up

let started = performance.now();
const singles = await get(numbers.map((number) => encryptOne.remote(n, number)));
console.log(`${count} tasks: ${((performance.now() - started) / 1000).toFixed(2)} s`);

started = performance.now();
const parts = Array.from({ length: Math.ceil(count / batch) }, (_, i) =>
  numbers.slice(i * batch, (i + 1) * batch),
);
const batches = await get(parts.map((part) => encryptBatch.remote(n, part)));
console.log(
  `${parts.length} batches of ${batch}: ${((performance.now() - started) / 1000).toFixed(2)} s`,
);

for (let i = 0; i < count; i += Math.max(1, Math.floor(count / 20))) {
  assert.equal(decrypt(n, lambda, singles[i] as bigint), i);
  assert.equal(decrypt(n, lambda, batches.flat()[i] as bigint), i);
}
