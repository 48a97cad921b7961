// SPDX-License-Identifier: Apache-2.0
// Map with a lambda, reduce with refs as arguments: the refs' values arrive, however many there are.

import assert from "node:assert/strict";
import { get, init, type ObjectRef, remote } from "polyray";

const apply = remote((run: (x: number) => number, value: number) => run(value));
const sumResults = remote((...values: number[]) => values.reduce((a, b) => a + b, 0));

function parallelMap(run: (x: number) => number, values: number[]): ObjectRef<number>[] {
  return values.map((value) => apply.remote(run, value));
}

await using _runtime = await init();
const offset = 3;
const refs = parallelMap(
  (x) => x * x + offset,
  Array.from({ length: 100 }, (_, i) => i),
);
const total = await get(sumResults.remote(...refs));
console.log(`map and reduce of 100 numbers: ${total}`);
assert.equal(total, 328_650);
