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
  #closed = false;

  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  /** Puts all or nothing; "full": no room in time. Items come in a list, so that refs inside stay refs. */
  async put(items: T[], timeoutMs: number): Promise<"put" | "full" | "closed"> {
    const end = Date.now() + timeoutMs;
    while (!this.#closed && !this.#hasRoom(items.length)) {
      if (!(await this.#wait(this.#putters, timeoutMs < 0 ? -1 : end - Date.now()))) return "full";
    }
    if (this.#closed) return "closed";
    this.#items.push(...items);
    for (let i = 0; i < items.length; i++) this.#takers.shift()?.wake();
    return "put";
  }

  /** The first items: `least` to `most` of them. Empty when they did not come in time; null when none will come. */
  async take(least: number, most: number, timeoutMs: number): Promise<T[] | null> {
    const end = Date.now() + timeoutMs;
    while (this.#items.length < least) {
      if (this.#closed) return this.#items.length > 0 ? this.#out(most) : null;
      if (!(await this.#wait(this.#takers, timeoutMs < 0 ? -1 : end - Date.now()))) return [];
    }
    return this.#out(most);
  }

  size(): number {
    return this.#items.length;
  }

  full(): boolean {
    return this.#maxSize > 0 && this.#items.length >= this.#maxSize;
  }

  /** No more items: those that are there can still be taken. */
  close(): void {
    this.#closed = true;
    for (const waiter of [...this.#takers.splice(0), ...this.#putters.splice(0)]) waiter.wake();
  }

  #hasRoom(count: number): boolean {
    return this.#maxSize === 0 || this.#items.length + count <= this.#maxSize;
  }

  #out(most: number): T[] {
    const items = this.#items.splice(0, most);
    for (let i = 0; i < items.length; i++) this.#putters.shift()?.wake();
    // Others may wait for fewer items than are left.
    if (this.#items.length > 0) this.#takers.shift()?.wake();
    return items;
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
              const at = list.indexOf(waiter);
              if (at >= 0) list.splice(at, 1);
              resolve(false);
            }, leftMs);
      list.push(waiter);
    });
  }
}
