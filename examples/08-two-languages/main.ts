// SPDX-License-Identifier: Apache-2.0
// A TypeScript driver with Python workers: a function over a shared matrix, a Python actor that TypeScript tasks call
// too, and a Python object (a Fraction) that passes through this driver untouched.

import assert from "node:assert/strict";
import {
  type ActorHandle,
  get,
  init,
  kwargs,
  NdArray,
  put,
  pyActor,
  pyFunction,
  remote,
} from "polyray";

interface Ledger {
  add(name: string, amount: number): number;
}

const sumMatrix = pyFunction<[NdArray], number>("kernels", "sum_matrix");
const book = remote(async (ledger: ActorHandle<Ledger>, amount: number) =>
  get(ledger.add.remote("typescript", amount)),
);

await using _runtime = await init();
const matrix = put(new NdArray(new Float64Array(1000 * 1000).fill(1), [1000, 1000]));
const sums = await get([1, 2, 3].map(() => sumMatrix.remote(matrix)));
console.log("numpy summed the matrix in place, three times:", sums[0]);
assert.deepEqual(sums, [1_000_000, 1_000_000, 1_000_000]);

const ledger = pyActor<Ledger>("kernels", "Ledger").remote();
await get(ledger.add.remote("python", kwargs({ amount: 1.5 }) as never));
const totals = await get([1, 2, 3, 4].map((amount) => book.remote(ledger, amount)));
console.log("the ledger after tasks in TypeScript:", Math.max(...totals));
assert.equal(Math.max(...totals), 10);

const third = pyFunction("fractions", "Fraction").remote(1, 3);
const same = await get(pyFunction<[unknown], string>("builtins", "str").remote(await get(third)));
console.log("a Fraction through this driver and back:", same);
assert.equal(same, "1/3");
