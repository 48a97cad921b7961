// SPDX-License-Identifier: Apache-2.0
// The objects of an inline runtime: envelopes in memory, counted. The same rules as the store in shared memory.
//
// An entry has handles (counts that refs own) and holds (containers, running calls, the service). Invariant: it goes when
// both are 0, and what it contains is let go with it.

import { makeError } from "../base/errors.ts";
import { idOfParts } from "../base/ids.ts";
import { ObjectStatus } from "../native/binding.ts";
import { envelopeRefs } from "../object/envelope.ts";

export interface Entry {
  /** Number of its handle. */
  readonly handle: number;
  readonly id: string;
  /** ObjectStatus */
  status: number;
  bytes: Uint8Array | null;
  contains: readonly Entry[];
  handles: number;
  holds: number;
  /** The program waits for it: one event is due when it settles. */
  isWanted: boolean;
  /** Calls that wait for it. */
  readonly onSettled: (() => void)[];
}

// Numbers are never used twice, also not by the next inline runtime of this process.
let lastHandle = 0;

export class Objects {
  readonly #byHandle = new Map<number, Entry>();
  readonly #byId = new Map<string, Entry>();
  readonly #nodeTag: number;
  readonly #ready: (entry: Entry) => void;
  readonly #gone: (entry: Entry) => void;

  /** `ready`: a wanted object settled. `gone`: an object went. */
  constructor(nodeTag: number, ready: (entry: Entry) => void, gone: (entry: Entry) => void) {
    this.#nodeTag = nodeTag;
    this.#ready = ready;
    this.#gone = gone;
  }

  get size(): number {
    return this.#byId.size;
  }

  get usedBytes(): number {
    let sum = 0;
    for (const entry of this.#byId.values()) sum += entry.bytes?.length ?? 0;
    return sum;
  }

  /** A pending object with one handle count. */
  make(): Entry {
    const handle = ++lastHandle;
    const id = idOfParts({
      nodeTag: this.#nodeTag,
      entryIndex: handle,
      unique: BigInt(Date.now()) * 4096n + BigInt(handle % 4096),
    });
    const entry: Entry = {
      handle,
      id,
      status: ObjectStatus.pending,
      bytes: null,
      contains: [],
      handles: 1,
      holds: 0,
      isWanted: false,
      onSettled: [],
    };
    this.#byHandle.set(handle, entry);
    this.#byId.set(id, entry);
    return entry;
  }

  /** False: it was sealed before. */
  seal(entry: Entry, bytes: Uint8Array, isError: boolean): boolean {
    if (entry.status !== ObjectStatus.pending) return false;
    entry.bytes = bytes;
    entry.contains = this.inside(bytes);
    for (const one of entry.contains) one.holds++;
    entry.status = isError ? ObjectStatus.error : ObjectStatus.sealed;
    for (const run of entry.onSettled.splice(0)) run();
    if (entry.isWanted) {
      entry.isWanted = false;
      this.#ready(entry);
    }
    return true;
  }

  /** The living objects whose refs are in an envelope. */
  inside(bytes: Uint8Array): Entry[] {
    return envelopeRefs(bytes)
      .map((id) => this.#byId.get(id))
      .filter((entry) => entry !== undefined);
  }

  of(handle: number): Entry {
    const entry = this.#byHandle.get(handle);
    if (entry === undefined || entry.handles === 0)
      throw makeError("OBJECT_FREED", `the object of handle ${handle} was released`);
    return entry;
  }

  /** ObjectStatus; undefined: nobody has the handle. */
  statusOf(handle: number): number | undefined {
    const entry = this.#byHandle.get(handle);
    return entry === undefined || entry.handles === 0 ? undefined : entry.status;
  }

  byId(id: string): Entry | undefined {
    return this.#byId.get(id);
  }

  /** One handle count back; true when it was the last. */
  release(handle: number): boolean {
    const entry = this.of(handle);
    entry.handles--;
    if (entry.handles > 0) return false;
    entry.isWanted = false;
    this.#collect(entry);
    return true;
  }

  /** One hold back. */
  letGo(entry: Entry): void {
    entry.holds--;
    this.#collect(entry);
  }

  #collect(entry: Entry): void {
    if (entry.handles > 0 || entry.holds > 0 || !this.#byId.delete(entry.id)) return;
    this.#byHandle.delete(entry.handle);
    entry.bytes = null;
    for (const one of entry.contains) this.letGo(one);
    this.#gone(entry);
  }
}
