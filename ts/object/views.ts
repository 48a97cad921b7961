// SPDX-License-Identifier: Apache-2.0
// The live zero-copy buffers of one JS environment, by the handle of their object.
//
// Owns no memory: buffers are held weakly, and native takes their pins back when they are collected. Invariant: two reads of
// one live object share one buffer.

/** The buffers of a store that values of this environment stand on. */
export class LiveViews {
  readonly #buffers = new Map<number, WeakRef<ArrayBuffer>>();
  readonly #bufferOfValue = new WeakMap<object, ArrayBuffer>();
  readonly #ends: FinalizationRegistry<{ readonly handle: number; readonly bytes: number }>;
  #bytes = 0;

  constructor() {
    this.#ends = new FinalizationRegistry(({ handle, bytes }) => {
      this.#bytes -= bytes;
      if (this.#buffers.get(handle)?.deref() === undefined) this.#buffers.delete(handle);
    });
  }

  /** Bytes in views, those that nobody uses any more too, until their end was noticed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The bytes of an object that is in use, or null. */
  read(handle: number): Uint8Array | null {
    const live = this.#buffers.get(handle)?.deref();
    return live !== undefined && live.byteLength > 0 ? new Uint8Array(live) : null;
  }

  /** A buffer that was read just now. */
  add(handle: number, buffer: ArrayBuffer): void {
    this.#buffers.set(handle, new WeakRef(buffer));
    this.#bytes += buffer.byteLength;
    this.#ends.register(buffer, { handle, bytes: buffer.byteLength });
  }

  /** The value that was decoded from the bytes of an object: bufferOf finds its buffer. */
  decoded(handle: number, value: object, bytes: Uint8Array): void {
    if (this.#buffers.has(handle)) this.#bufferOfValue.set(value, bytes.buffer as ArrayBuffer);
  }

  /** The buffer of a view, of a value that was decoded, or the buffer itself; null: nothing of the store. */
  bufferOf(value: object): ArrayBuffer | null {
    let buffer: ArrayBufferLike | undefined;
    if (ArrayBuffer.isView(value)) buffer = value.buffer;
    else if (value instanceof ArrayBuffer) buffer = value;
    else buffer = this.#bufferOfValue.get(value);
    return buffer instanceof ArrayBuffer ? buffer : null;
  }

  /** The handle is given back or names nothing any more. */
  forget(handle: number): void {
    if (this.#buffers.size > 0) this.#buffers.delete(handle);
  }

  clear(): void {
    this.#buffers.clear();
  }
}
