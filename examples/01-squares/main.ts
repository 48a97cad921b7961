// SPDX-License-Identifier: Apache-2.0
// 400 squares, each a task of its own.

import assert from "node:assert/strict";
import { get, init, remote } from "polyray";

const square = remote((x: number) => x * x);

await using _runtime = await init();
const squares = await get(Array.from({ length: 400 }, (_, i) => square.remote(i)));
console.log(`the sum of 400 squares is ${squares.reduce((a, b) => a + b)}`);
assert.deepEqual(
  squares,
  Array.from({ length: 400 }, (_, i) => i * i),
);
