// SPDX-License-Identifier: Apache-2.0
// ObjectRef: a counted reference to a value in the store, and refScope, the prompt way to drop
// many.
//
// A ref owns one count of its native handle. The count ends by `[Symbol.dispose]`, by a scope, by
// the end of the store, or, as a safety
// net, when the garbage collector finds the ref unreachable. Ending a ref never invalidates values
// that were read from it.
// Invariants: (1) a ref is never thenable, so `await ref` and returning it from an async function
// give the ref itself;
// (2) `id` stays readable after the ref was released; (3) a released ref is refused with
// ObjectFreedError.

import { AsyncLocalStorage } from "node:async_hooks";
import { inspect } from "node:util";
import { makeError } from "../base/errors.ts";

/** What a ref needs of its store (store.ts). */
export interface RefHome {
  /** One count back. */
  dropRef(handle: number): void;
  idOf(handle: number): string;
  get(ref: ObjectRef<unknown>): Promise<unknown>;
  /** Finalizers: a ref that is collected gives its count back. */
  readonly collected: FinalizationRegistry<number>;
}

declare const refBrand: unique symbol;
/** Set by store.ts: makes a ref out of an id in the current runtime. */
export const fromIdHook: { make: ((id: string) => ObjectRef<unknown>) | null } = { make: null };

/** A reference to a value of type T that exists or will exist. */
export class ObjectRef<out T = unknown> {
  /** Only for the type checker. */
  declare readonly [refBrand]: T;
  /** Never thenable. */
  declare readonly then?: never;
  readonly #home: RefHome;
  #handle: number;
  #id: string | null;

  /**
   * Made by the store only. REQUIRES: the caller gives the ref one count of the handle; 0 = the
   * object is gone (then with its id).
   */
  constructor(home: RefHome, handle: number, id: string | null = null) {
    this.#home = home;
    this.#handle = handle;
    this.#id = id;
    if (handle !== 0) home.collected.register(this, handle, this);
    if (scopes !== null) scopes.getStore()?.add(this);
  }

  /** A ref by its id. The object must be known and alive. */
  static fromId<T = unknown>(id: string): ObjectRef<T> {
    if (fromIdHook.make === null)
      throw makeError("NOT_INITIALIZED", "no runtime runs in this process");
    return fromIdHook.make(id) as ObjectRef<T>;
  }

  /** 32 hex digits, the same in every process and language. */
  get id(): string {
    this.#id ??= this.#home.idOf(this.#handle);
    return this.#id;
  }

  /** The value: as `get(ref)`. */
  toPromise(): Promise<T> {
    return this.#home.get(this) as Promise<T>;
  }

  /** Drops the reference now; later use throws ObjectFreedError. A second call does nothing. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === 0) return;
    this.#id ??= this.#home.idOf(handle);
    this.#handle = 0;
    this.#home.collected.unregister(this);
    this.#home.dropRef(handle);
  }

  toJSON(): string {
    return `ObjectRef(${this.id})`;
  }

  [inspect.custom](): string {
    return `ObjectRef(${this.#handle === 0 && this.#id === null ? "" : this.id}${this.#handle === 0 ? ", released" : ""})`;
  }

  /**
   * The native handle. Throws ObjectFreedError when the ref was released. For polyray's own layers.
   */
  static handleOf(ref: ObjectRef<unknown>): number {
    const handle = ref.#handle;
    if (handle === 0) throw makeError("OBJECT_FREED", `${ref.#id ?? "the object"} was released`);
    return handle;
  }

  /** True for a ref of this store that was not released. */
  static isOf(value: unknown, home: RefHome): value is ObjectRef<unknown> {
    return (
      typeof value === "object" &&
      value !== null &&
      #home in value &&
      value.#home === home &&
      value.#handle !== 0
    );
  }
}

/** The refs made inside a `refScope`; disposing drops those that were not kept. */
export class RefScope {
  readonly #refs = new Set<ObjectRef<unknown>>();

  /** Adds a ref to drop at the end. */
  add<R extends ObjectRef<unknown>>(ref: R): R {
    this.#refs.add(ref);
    return ref;
  }

  /** Takes a ref out: it lives on. */
  keep<R extends ObjectRef<unknown>>(ref: R): R {
    this.#refs.delete(ref);
    return ref;
  }

  [Symbol.dispose](): void {
    for (const ref of this.#refs) ref[Symbol.dispose]();
    this.#refs.clear();
  }
}

// Made at the first use, so that programs without scopes do not pay for async context tracking.
let scopes: AsyncLocalStorage<RefScope> | null = null;

/** An explicit scope: `using scope = refScope(); const r = scope.add(put(1));`. */
export function refScope(): RefScope;
/**
 * Runs `body`; refs made in it (also after its awaits) are dropped at its end, except its result
 * and what `scope.keep` took.
 */
export function refScope<R>(body: (scope: RefScope) => R): R;
export function refScope<R>(body?: (scope: RefScope) => R): R | RefScope {
  const scope = new RefScope();
  if (body === undefined) return scope;
  scopes ??= new AsyncLocalStorage<RefScope>();
  let result: R;
  try {
    result = scopes.run(scope, body, scope);
  } catch (error) {
    scope[Symbol.dispose]();
    throw error;
  }
  if (result instanceof Promise) return result.then(keepResult, fail) as R;
  return keepResult(result);

  function keepResult<V>(value: V): V {
    if (value instanceof ObjectRef) scope.keep(value);
    scope[Symbol.dispose]();
    return value;
  }
  function fail(error: unknown): never {
    scope[Symbol.dispose]();
    throw error;
  }
}
