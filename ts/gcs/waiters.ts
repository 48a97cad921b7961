// SPDX-License-Identifier: Apache-2.0
// Requests that are answered later: each waits for a turn, a time limit, or the end of its peer. Used by sync.ts.
// Invariant: a waiter is answered once; after that no timer of it is left.

import type { Peer } from "./state.ts";

type Fields = Record<string, unknown>;

/** One request that waits. */
export interface Waiter {
  readonly peer: Peer;
  /** Names it, so that its client can take it back. */
  readonly id: string;
  readonly answer: (fields: Fields) => void;
}

/** Requests that wait for one thing, first come first served. */
export class Waiters<W extends Waiter = Waiter> {
  readonly #list: W[] = [];

  get size(): number {
    return this.#list.length;
  }

  get first(): W | undefined {
    return this.#list[0];
  }

  /** Waits at most `timeoutMs` (below 0: for ever), then answers with `late`. */
  wait(
    make: (answer: (fields: Fields) => void) => W,
    timeoutMs: number,
    late: Fields,
  ): Promise<Fields> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const waiter = make((fields) => {
        clearTimeout(timer);
        resolve(fields);
      });
      this.#list.push(waiter);
      if (timeoutMs >= 0)
        timer = setTimeout(
          () => {
            this.#remove(waiter);
            resolve(late);
          },
          Math.min(timeoutMs, 2 ** 31 - 1),
        ).unref();
    });
  }

  shift(): W | undefined {
    return this.#list.shift();
  }

  /** Answers all that wait now. */
  answerAll(fields: Fields): void {
    for (const waiter of this.#list.splice(0)) waiter.answer(fields);
  }

  /** Takes one back, answering it. */
  withdraw(id: string, fields: Fields): boolean {
    const found = this.#list.find((one) => one.id === id);
    if (found === undefined) return false;
    this.#remove(found);
    found.answer(fields);
    return true;
  }

  forgetPeer(peer: Peer): void {
    for (const one of this.#list.filter((waiter) => waiter.peer === peer)) {
      this.#remove(one);
      one.answer({ gone: true });
    }
  }

  #remove(waiter: W): void {
    const at = this.#list.indexOf(waiter);
    if (at >= 0) this.#list.splice(at, 1);
  }
}
