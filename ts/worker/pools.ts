// SPDX-License-Identifier: Apache-2.0
// The pools of calls of a worker: one for tasks or for an actor, and one for each of its concurrency groups. Pure.
// Invariants: (1) at most `limit` calls of a pool run; (2) a pool's calls start in the order in which they came.

import type { Call } from "./call.ts";

export interface Pool {
  readonly name: string;
  limit: number;
  running: number;
  readonly queue: Call[];
}

export class Pools {
  readonly main: Pool = { name: "", limit: 1, running: 0, queue: [] };
  readonly #groups = new Map<string, Pool>();
  readonly #groupOfMethod = new Map<string, string>();

  /** Sets an actor's pools; `methods`: names with the groups that they ask for. */
  setUp(
    limit: number,
    groups: Readonly<Record<string, number>>,
    methods: readonly { readonly name: string; readonly concurrencyGroup: string | null }[],
  ): void {
    this.main.limit = limit;
    for (const [name, groupLimit] of Object.entries(groups))
      this.#groups.set(name, { name, limit: groupLimit, running: 0, queue: [] });
    for (const { name, concurrencyGroup } of methods)
      if (concurrencyGroup !== null) this.#groupOfMethod.set(name, concurrencyGroup);
  }

  /** The pool of a call; undefined: it names a group that the actor does not have. */
  of(call: Call): Pool | undefined {
    if (this.#groups.size === 0 && call.extras === null) return this.main;
    const group = call.extras?.group ?? this.#groupOfMethod.get(call.method);
    return group === undefined ? this.main : this.#groups.get(group);
  }

  names(): string[] {
    return [...this.#groups.keys()];
  }

  all(): Pool[] {
    return [this.main, ...this.#groups.values()];
  }

  /** Takes a waiting call out. */
  takeQueued(number: number): Call | null {
    for (const { queue } of this.all()) {
      const at = queue.findIndex((call) => call.number === number);
      if (at >= 0) return queue.splice(at, 1)[0] ?? null;
    }
    return null;
  }
}
