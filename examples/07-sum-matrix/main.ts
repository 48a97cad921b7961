// SPDX-License-Identifier: Apache-2.0
// A matrix as an argument: by value, and by a ref to one put, which every task reads in place.

import assert from "node:assert/strict";
import { get, init, put, remote } from "polyray";

const sumMatrix = remote((matrix: Float64Array) => matrix.reduce((a, b) => a + b, 0));

await using _runtime = await init();
console.log("by value, 100x100:", await get(sumMatrix.remote(new Float64Array(100 * 100).fill(1))));
const matrix = put(new Float64Array(1000 * 1000).fill(1));
const sums = await get(Array.from({ length: 10 }, () => sumMatrix.remote(matrix)));
console.log("by ref, 1000x1000, ten times:", sums[0]);
assert.deepEqual(sums, Array(10).fill(1_000_000));
