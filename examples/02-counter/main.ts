// SPDX-License-Identifier: Apache-2.0
// An actor that counts: ten increments, in the order in which they were called.

import assert from "node:assert/strict";
import { get, init, remote } from "polyray";

class Counter {
  #value = 0;

  increment(): number {
    this.#value += 1;
    return this.#value;
  }

  value(): number {
    return this.#value;
  }
}

await using _runtime = await init();
const counter = remote(Counter).remote();
const seen = await get(Array.from({ length: 10 }, () => counter.increment.remote()));
console.log(`saw ${seen.join(" ")}, the counter is at ${await get(counter.value.remote())}`);
assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
