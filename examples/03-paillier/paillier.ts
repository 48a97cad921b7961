// SPDX-License-Identifier: Apache-2.0
// Textbook Paillier encryption with bigints, for the example beside this file (not for secrets).

import { generatePrimeSync, randomBytes } from "node:crypto";

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) {
    if (e & 1n) result = (result * b) % modulus;
  }
  return result;
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [r0, r1, s0, s1] = [modulus, value % modulus, 0n, 1n];
  while (r1 > 0n) [r0, r1, s0, s1] = [r1, r0 % r1, s1, s0 - (r0 / r1) * s1];
  return ((s0 % modulus) + modulus) % modulus;
}

/** A key pair: `n` is public, `lambda` is not. */
export function generateKeys(bits: number): { n: bigint; lambda: bigint } {
  const [p, q] = [0, 0].map(() => generatePrimeSync(bits / 2, { bigint: true })) as [
    bigint,
    bigint,
  ];
  return p === q ? generateKeys(bits) : { n: p * q, lambda: (p - 1n) * (q - 1n) };
}

export function encrypt(n: bigint, value: number): bigint {
  const square = n * n;
  const noise = BigInt(`0x${randomBytes(16).toString("hex")}`) | 1n;
  return ((1n + BigInt(value) * n) * power(noise, n, square)) % square;
}

export function decrypt(n: bigint, lambda: bigint, cipher: bigint): number {
  const share = (power(cipher, lambda, n * n) - 1n) / n;
  return Number((share * inverse(lambda, n)) % n);
}
