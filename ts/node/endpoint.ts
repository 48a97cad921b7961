// SPDX-License-Identifier: Apache-2.0
// The node service's endpoint: turns native event records into typed events and requests into promises.
//
// One per service environment. Bytes of an event are copied before the handler runs, since the record buffer is reused.
// Bells are sent once per turn. Owns the attachment of this environment (kind service).

import type { ErrorCode } from "../base/error-codes.ts";
import { errorOfCode, errorOfNumber } from "../base/errors.ts";
import type { AttachInfo, NativeBinding } from "../native/binding.ts";
import { EndpointKind, EventKind, ObjectStatus, Rec } from "../native/binding.ts";

/** endpoint | serial << 32 */
export type Peer = bigint;

export function peerOf(endpoint: number, serial: number): Peer {
  return BigInt(endpoint) | (BigInt(serial) << 32n);
}

export function peerEndpoint(peer: Peer): number {
  return Number(peer & 0xffffffffn);
}

export function peerSerial(peer: Peer): number {
  return Number(peer >> 32n);
}

/** What the service is told. */
export interface EndpointHandler {
  request(peer: Peer, request: number, payload: Uint8Array): void;
  rayletEvent(event: Record<string, unknown>): void;
  actorGone(id: string): void;
  shutdown(): void;
}

interface Settle<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

export interface Granted {
  readonly peer: Peer;
  readonly lease: number;
}

/** How an object ended that the service waited for. */
export interface Settled {
  readonly isError: boolean;
  readonly bytes: Uint8Array | null;
}

export class ServiceEndpoint {
  readonly native: NativeBinding;
  readonly info: AttachInfo;
  readonly #handler: EndpointHandler;
  readonly #leases = new Map<number, Settle<Granted>>();
  readonly #objects = new Map<number, Settle<Settled>>();
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  #flushing = false;

  constructor(native: NativeBinding, socketName: string, token: string, handler: EndpointHandler) {
    this.native = native;
    this.#handler = handler;
    this.info = native.attach(
      {
        socketName,
        token,
        kind: EndpointKind.service,
        startupToken: "0",
        job: 0,
        sendStdio: false,
      },
      (bytes, extras) => this.#batch(bytes, extras),
    );
    this.#words = new Uint32Array(this.info.events);
    this.#bytes = new Uint8Array(this.info.events);
    native.setRef(true);
  }

  /** Rings the bells of this turn at its end. */
  flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      if (this.native.isAttached()) this.native.flush();
    });
  }

  reply(peer: Peer, request: number, payload: Uint8Array): void {
    this.native.serviceReply(peerEndpoint(peer), peerSerial(peer), request, payload);
    this.flushSoon();
  }

  push(peer: Peer, topic: number, payload: Uint8Array): void {
    this.native.servicePush(peerEndpoint(peer), peerSerial(peer), topic, payload);
    this.flushSoon();
  }

  command(op: number, b: bigint, c: bigint, d: bigint, payload: Uint8Array | null): void {
    this.native.rayletCommand(op, b, c, d, payload);
    this.flushSoon();
  }

  /** A dedicated worker for a registered spec. */
  requestDedicated(spec: number): Promise<Granted> {
    return new Promise((resolve, reject) => {
      this.#leases.set(this.native.requestDedicated(spec), { resolve, reject });
      this.flushSoon();
    });
  }

  /** Resolves when the object of a handle is sealed. */
  settled(handle: number): Promise<Settled> {
    return new Promise((resolve, reject) => {
      const status = this.native.subscribe(handle, true);
      this.flushSoon();
      if (status === ObjectStatus.pending) this.#objects.set(handle, { resolve, reject });
      else resolve(this.#read(handle, status));
    });
  }

  #read(handle: number, status: number): Settled {
    const view = status === ObjectStatus.gone ? null : this.native.read(handle, false);
    return { isError: status !== ObjectStatus.sealed, bytes: view === null ? null : view.slice() };
  }

  #batch(bytes: number, extras: readonly Uint8Array[] | null): void {
    for (let at = 0; at < bytes; ) {
      const base = at >> 2;
      const word = (index: number): number => this.#words[base + index] as number;
      const size = word(Rec.bytes);
      const extra = word(Rec.extra);
      const start = at + Rec.payload * 4;
      const payload =
        extra === 0
          ? this.#bytes.slice(start, start + word(Rec.payloadBytes))
          : (extras?.[extra - 1] ?? new Uint8Array(0)).slice();
      this.#dispatch(word, payload);
      at += size;
    }
  }

  #dispatch(word: (index: number) => number, payload: Uint8Array): void {
    switch (word(Rec.kind)) {
      case EventKind.serviceCall:
        this.#handler.request(
          peerOf(word(Rec.peerEndpoint), word(Rec.peerSerial)),
          word(Rec.a),
          payload,
        );
        break;
      case EventKind.rayletEvent:
        this.#handler.rayletEvent(
          JSON.parse(Buffer.from(payload).toString("utf8")) as Record<string, unknown>,
        );
        break;
      case EventKind.actorGone:
        this.#handler.actorGone(idHex(word));
        break;
      case EventKind.leaseGranted: {
        const waiter = this.#take(this.#leases, word(Rec.a));
        waiter?.resolve({
          peer: peerOf(word(Rec.peerEndpoint), word(Rec.peerSerial)),
          lease: word(Rec.b0),
        });
        break;
      }
      case EventKind.leaseFailed: {
        const waiter = this.#take(this.#leases, word(Rec.a));
        const why = JSON.parse(Buffer.from(payload).toString("utf8")) as {
          code: ErrorCode | number;
          message: string;
        };
        // A number from the raylet itself, a name when the service refused the start of the worker.
        waiter?.reject(
          typeof why.code === "number"
            ? errorOfNumber(why.code, why.message)
            : errorOfCode(why.code, why.message),
        );
        break;
      }
      case EventKind.objectReady: {
        const handle = word(Rec.handle);
        const waiter = this.#take(this.#objects, handle);
        if (waiter === undefined) break;
        if (word(Rec.hasValue) === 1)
          waiter.resolve({ isError: word(Rec.status) !== ObjectStatus.sealed, bytes: payload });
        else waiter.resolve(this.#read(handle, word(Rec.status)));
        break;
      }
      case EventKind.objectGone:
        this.#take(this.#objects, word(Rec.handle))?.resolve({ isError: true, bytes: null });
        break;
      case EventKind.gcRequest:
        this.native.gcDone();
        this.flushSoon();
        break;
      case EventKind.shutdown:
        this.#handler.shutdown();
        break;
      default:
        break; // the service runs no tasks and consumes no streams
    }
  }

  #take<T>(waiters: Map<number, Settle<T>>, key: number): Settle<T> | undefined {
    const waiter = waiters.get(key);
    waiters.delete(key);
    return waiter;
  }
}

function idHex(word: (index: number) => number): string {
  const bytes = Buffer.alloc(16);
  for (let i = 0; i < 4; i++) bytes.writeUInt32LE(word(Rec.id + i), i * 4);
  return bytes.toString("hex");
}
