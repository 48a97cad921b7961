// SPDX-License-Identifier: Apache-2.0
// Pi from 600 batches that return fractions: instances of a class that says once how it travels.
//
// `main.ts [samples of a batch]`

import assert from "node:assert/strict";
import { get, init, remote } from "polyray";
import { Fraction } from "./fraction.ts";

const batches = 600;
const samples = Number(process.argv[2] ?? 1_000_000);

const piSample = remote((count: number) => {
  let inside = 0;
  for (let i = 0; i < count; i++) if (Math.random() ** 2 + Math.random() ** 2 <= 1) inside++;
  return new Fraction(BigInt(inside), BigInt(count));
});

await using _runtime = await init();
const results = await get(Array.from({ length: batches }, () => piSample.remote(samples)));
const sum = results.reduce((a, b) => a.plus(b), new Fraction(0n, 1n));
const pi = sum.times(new Fraction(4n, BigInt(batches)));
console.log(
  `pi is about ${pi.toNumber()} (off by ${Math.abs(pi.toNumber() - Math.PI).toFixed(6)})`,
);
assert.ok(pi instanceof Fraction && results.every((one) => one instanceof Fraction));
assert.ok(Math.abs(pi.toNumber() - Math.PI) < 0.1);
