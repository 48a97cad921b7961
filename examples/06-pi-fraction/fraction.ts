// SPDX-License-Identifier: Apache-2.0
// A fraction of two bigints, and how it travels: every process that imports this module knows.

import { registerCodec } from "polyray";

export class Fraction {
  readonly numerator: bigint;
  readonly denominator: bigint;

  constructor(numerator: bigint, denominator: bigint) {
    const divisor = gcd(numerator, denominator);
    this.numerator = numerator / divisor;
    this.denominator = denominator / divisor;
  }

  plus(other: Fraction): Fraction {
    const numerator = this.numerator * other.denominator + other.numerator * this.denominator;
    return new Fraction(numerator, this.denominator * other.denominator);
  }

  times(other: Fraction): Fraction {
    return new Fraction(this.numerator * other.numerator, this.denominator * other.denominator);
  }

  toNumber(): number {
    return Number((this.numerator * 10n ** 15n) / this.denominator) / 1e15;
  }
}

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}

registerCodec(Fraction, {
  tag: "example/Fraction@1",
  encode: ({ numerator, denominator }) => [numerator, denominator],
  decode: ([numerator, denominator]: bigint[]) =>
    new Fraction(numerator as bigint, denominator as bigint),
});
