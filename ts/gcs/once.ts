// SPDX-License-Identifier: Apache-2.0
// Calls that run once: who claimed a name, and the refs of the returns when they are known. Runs on the node service's
// thread. Invariants: (1) a name has one claimer at a time; one that ends before it has told its refs passes the name on;
// (2) the refs of the last `maxOnce` names are kept.

import type { Peer } from "./state.ts";
import { type Waiter, Waiters } from "./waiters.ts";

type Fields = Record<string, unknown>;

interface Once<Kept> {
  /** Who submits now; null: nobody, or it is done. */
  claimer: Peer | null;
  readonly kept: Kept[];
  readonly waiting: Waiters;
}

const maxOnce = 10_000;

export class OnceTable<Kept extends { readonly id: Uint8Array }> {
  readonly #names = new Map<string, Once<Kept>>();
  readonly #keep: (id: unknown) => Kept;
  readonly #drop: (kept: Kept) => void;

  constructor(keep: (id: unknown) => Kept, drop: (kept: Kept) => void) {
    this.#keep = keep;
    this.#drop = drop;
  }

  /** { ids } when they are known, { mine: true } for who shall submit. Others wait. */
  claim(name: string, peer: Peer): Fields | Promise<Fields> {
    let one = this.#names.get(name);
    if (one === undefined) {
      one = { claimer: null, kept: [], waiting: new Waiters() };
      this.#names.set(name, one);
      this.#bound();
    }
    if (one.kept.length > 0) return { ids: one.kept.map((kept) => kept.id) };
    if (one.claimer === null) {
      one.claimer = peer;
      return { mine: true };
    }
    const make = (answer: (fields: Fields) => void): Waiter => ({ peer, id: "", answer });
    return one.waiting.wait(make, -1, {});
  }

  set(name: string, ids: unknown): Fields {
    const one = this.#names.get(name);
    if (one === undefined || one.kept.length > 0 || !Array.isArray(ids)) return {};
    one.kept.push(...ids.map((id) => this.#keep(id)));
    one.claimer = null;
    one.waiting.answerAll({ ids: one.kept.map((kept) => kept.id) });
    return {};
  }

  /** The claimer could not submit: the next one may. */
  pass(name: string): Fields {
    const one = this.#names.get(name);
    if (one === undefined || one.kept.length > 0) return {};
    const next = one.waiting.shift();
    one.claimer = next?.peer ?? null;
    if (next === undefined) this.#names.delete(name);
    else next.answer({ mine: true });
    return {};
  }

  forgetPeer(peer: Peer): void {
    for (const [name, one] of this.#names) {
      one.waiting.forgetPeer(peer);
      if (one.claimer === peer) this.pass(name);
    }
  }

  #bound(): void {
    for (const [name, one] of this.#names) {
      if (this.#names.size <= maxOnce) return;
      if (one.kept.length === 0) continue;
      for (const kept of one.kept) this.#drop(kept);
      this.#names.delete(name);
    }
  }
}
