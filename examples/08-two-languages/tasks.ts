// SPDX-License-Identifier: Apache-2.0
// What the Python driver beside this file calls: a function over a shared matrix, and an actor that keeps a tally.

/** The largest entry, found in place. */
export function largest(matrix: { readonly data: Float64Array } | Float64Array): number {
  const data = matrix instanceof Float64Array ? matrix : matrix.data;
  return data.reduce((best, value) => Math.max(best, value), -Infinity);
}

export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string): number {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    return count;
  }
}
