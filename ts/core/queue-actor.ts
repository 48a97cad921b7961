// SPDX-License-Identifier: Apache-2.0
// The actor behind Queue. Items and those who wait are plain lists; one call at a time touches them (between awaits).
// Imports nothing, so that it can be sent by its module alone.

interface Waiter {
  wake: () => void;
}

export class QueueActor<T> {
  readonly #maxSize: number;
  readonly #items: T[] = [];
  readonly #takers: Waiter[] = [];
  readonly #putters: Waiter[] = [];

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  /** `items` holds one item (in a list, so that a ref inside stays a ref). False: no room in time. */
  async put(items: [T], timeoutMs: number): Promise<boolean> {
    const end = Date.now() + timeoutMs;
    while (this.full()) {
      if (!(await this.#wait(this.#putters, timeoutMs < 0 ? -1 : end - Date.now()))) return false;
    }
    this.#items.push(items[0]);
    this.#takers.shift()?.wake();
    return true;
  }

  /** A list with the first item; empty when none came in time. */
  async take(timeoutMs: number): Promise<T[]> {
    const end = Date.now() + timeoutMs;
    while (this.#items.length === 0) {
      if (!(await this.#wait(this.#takers, timeoutMs < 0 ? -1 : end - Date.now()))) return [];
    }
    const item = this.#items.shift() as T;
    this.#putters.shift()?.wake();
    return [item];
  }

  size(): number {
    return this.#items.length;
  }

  full(): boolean {
    return this.#maxSize > 0 && this.#items.length >= this.#maxSize;
  }

  /** False when the time is over. */
  #wait(list: Waiter[], leftMs: number): Promise<boolean> {
    if (leftMs === 0 || leftMs < -1) return Promise.resolve(false);
    return new Promise((resolve) => {
      const waiter: Waiter = {
        wake: () => {
          clearTimeout(timer);
          resolve(true);
        },
      };
      const timer =
        leftMs < 0
          ? undefined
          : setTimeout(() => {
              list.splice(list.indexOf(waiter), 1);
              resolve(false);
            }, leftMs);
      list.push(waiter);
    });
  }
}
