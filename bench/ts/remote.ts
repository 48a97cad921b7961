// SPDX-License-Identifier: Apache-2.0
//
// What runs in the TypeScript workers of the benchmark: the functions and classes of
// bench/python/rows.py. A module of its own, so that workers import it.

import { existsSync } from "node:fs";
import { type ActorHandle, get, type ObjectRef, put, remote } from "polyray";

const ok = Uint8Array.of(0x6f, 0x6b);

/** An actor whose methods give a small value. */
export class Server {
  smallValue(): Uint8Array {
    return ok;
  }

  smallValueArg(_value: unknown): Uint8Array {
    return ok;
  }

  /** Submits tasks itself. */
  async smallValueBatch(n: number): Promise<void> {
    await get(times(n, () => smallValue.remote()));
  }
}

/** The same with async methods. */
export class AsyncServer {
  async smallValue(): Promise<Uint8Array> {
    return ok;
  }

  async smallValueWithArg(_value: unknown): Promise<Uint8Array> {
    return ok;
  }
}

/** An actor that calls others. */
export class Client {
  readonly #servers: readonly ActorHandle<Server>[];

  constructor(servers: readonly ActorHandle<Server>[]) {
    this.#servers = servers;
  }

  async smallValueBatch(n: number): Promise<void> {
    await get(this.#servers.flatMap((server) => times(n, () => server.smallValue.remote())));
  }

  async smallValueBatchArg(n: number): Promise<void> {
    const value = put(0);
    await get(
      this.#servers.flatMap((server) => times(n, () => server.smallValueArg.remote(value))),
    );
  }
}

/** A task that does nothing. */
export const smallValue = remote(function smallValue(): Uint8Array {
  return ok;
});

/** A task that puts 100 small values. */
export const putSmallValues = remote(function putSmallValues(): void {
  for (let i = 0; i < 100; i++) put(0)[Symbol.dispose]();
});

/** A task that puts ten arrays of 80 MB. */
export const putArrays = remote(function putArrays(): void {
  for (let i = 0; i < 10; i++) put(new Float64Array(10 * 1024 * 1024))[Symbol.dispose]();
});

/** A task that gives 10,000 refs. */
export const manyRefs = remote(function manyRefs(): ObjectRef<number>[] {
  return times(10_000, () => put(1));
});

/** A task that calls actors in turn. */
export const callActors = remote(async function callActors(
  actors: ActorHandle<Server>[],
  n: number,
): Promise<void> {
  await get(times(n, (i) => actors[i % actors.length]!.smallValue.remote()));
});

/** `make` called n times. */
export function times<T>(n: number, make: (index: number) => T): T[] {
  const made = new Array<T>(n);
  for (let i = 0; i < n; i++) made[i] = make(i);
  return made;
}

/** A task that occupies its worker until the file exists. */
export const hold = remote(function hold(file: string): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(file)) Atomics.wait(cell, 0, 0, 2);
});

/** An actor that can be occupied. */
export class Counter {
  #calls = 0;

  hold(file: string): void {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    while (!existsSync(file)) Atomics.wait(cell, 0, 0, 2);
  }

  add(): number {
    return ++this.#calls;
  }
}

/** A task that gives its argument. */
export const same = remote(function same(value: unknown): unknown {
  return value;
});
