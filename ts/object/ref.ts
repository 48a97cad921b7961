// SPDX-License-Identifier: Apache-2.0
// ObjectRef: a counted reference to a value in the store, and refScope, the prompt way to drop many.
//
// A ref owns one count of its native handle, kept in its RefState. The count ends by `[Symbol.dispose]`, by a scope, by
// the end of the store, or, as a safety net, when the garbage collector finds the ref unreachable. Ending a ref never
// invalidates values that were read from it. Refs inside a big container are lazy: they have no handle until the first
// use, and share one count of the container, which keeps them alive until then.
// Invariants: (1) a ref is never thenable, so `await ref` and returning it from an async function give the ref itself;
// (2) `id` stays readable after the ref was released; (3) a released ref is refused with ObjectFreedError.

import { AsyncLocalStorage } from "node:async_hooks";
import { inspect } from "node:util";
import { makeError } from "../base/errors.ts";
import { idFromBytes } from "../base/ids.ts";
import { packageRoot } from "../base/package-root.ts";
import type { Waiter } from "./pending.ts";

/** What a ref needs of its store (store.ts). */
export interface RefHome {
  /** One count back. */
  dropRef(handle: number): void;
  idOf(handle: number): string;
  /** The handle, with one count more, of the id at `offset` of `bytes`; 0 = the object is gone. */
  acquire(bytes: Uint8Array, offset: number): number;
  get(ref: ObjectRef<unknown>): Promise<unknown>;
  /** Finalizers: what is collected gives its count back. */
  readonly collected: FinalizationRegistry<{ readonly handle: number }>;
}

/** Hears that a watched ref is settled. */
export interface Watcher {
  refSettled(): void;
}

/** What outlives its ref: the handle to give back, and what is known of the object without asking again. */
export class RefState implements Waiter {
  /** 0: released. */
  handle: number;
  /** Sealed, failed or gone: for good. */
  settled = false;
  /** Registered with the store for the settling. */
  watched = false;
  readonly passive = true;
  #watchers: Watcher | Set<Watcher> | null = null;

  constructor(handle: number) {
    this.handle = handle;
  }

  settle(): void {
    this.settled = true;
    const watchers = this.#watchers;
    this.#watchers = null;
    if (watchers === null) return;
    if (watchers instanceof Set) for (const watcher of watchers) watcher.refSettled();
    else watchers.refSettled();
  }

  watch(watcher: Watcher): void {
    if (this.#watchers === null) this.#watchers = watcher;
    else if (this.#watchers instanceof Set) this.#watchers.add(watcher);
    else this.#watchers = new Set([this.#watchers, watcher]);
  }

  unwatch(watcher: Watcher): void {
    if (this.#watchers === watcher) this.#watchers = null;
    else if (this.#watchers instanceof Set) this.#watchers.delete(watcher);
  }
}

/** The refs of one decoded container. Holds one count of it until all of its refs are gone or have handles of their own. */
export class LazyRefs {
  readonly #home: RefHome;
  readonly #bytes: Uint8Array;

  /** REQUIRES: the caller gives one count of `container`; `bytes` are the ids, 16 bytes each, and stay as they are. */
  constructor(home: RefHome, container: number, bytes: Uint8Array) {
    this.#home = home;
    this.#bytes = bytes;
    home.collected.register(this, { handle: container });
  }

  ref(index: number): ObjectRef<unknown> {
    return new ObjectRef(this.#home, 0, null, this, index);
  }

  acquire(index: number): number {
    return this.#home.acquire(this.#bytes, index * 16);
  }

  idOf(index: number): string {
    return idFromBytes(this.#bytes, index * 16);
  }
}

declare const refBrand: unique symbol;
/** Set by store.ts: makes a ref out of an id in the current runtime. */
export const fromIdHook: { make: ((id: string) => ObjectRef<unknown>) | null } = { make: null };

const released = new RefState(0);
released.settled = true;

/** A reference to a value of type T that exists or will exist. */
export class ObjectRef<out T = unknown> {
  /** Only for the type checker. */
  declare readonly [refBrand]: T;
  /** Never thenable. */
  declare readonly then?: never;
  readonly #home: RefHome;
  /** Null: lazy, without a handle so far. */
  #state: RefState | null;
  #id: string | null;
  #lazy: LazyRefs | null;
  readonly #index: number;
  /** Id of its task; true: its own id. */
  #task: string | true | null = null;
  #ofMethod = false;
  #callSite: string | null = null;

  /**
   * Made by the store only. REQUIRES: the caller gives the ref one count of the handle; 0 = the object is gone (then with
   * its id), or the ref is one of `lazy`.
   */
  constructor(
    home: RefHome,
    handle: number,
    id: string | null = null,
    lazy: LazyRefs | null = null,
    index = 0,
  ) {
    this.#home = home;
    this.#id = id;
    this.#lazy = lazy;
    this.#index = index;
    if (handle !== 0) {
      const state = new RefState(handle);
      this.#state = state;
      home.collected.register(this, state);
    } else this.#state = lazy === null ? released : null;
    if (recordsCallSites && lazy === null) this.#callSite = callSiteNow();
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
    this.#id ??=
      this.#state === null
        ? (this.#lazy as LazyRefs).idOf(this.#index)
        : this.#home.idOf(this.#state.handle);
    return this.#id;
  }

  /** Id of the task that makes the value, when this process submitted it; null for `put` and for refs that were received. */
  get taskId(): string | null {
    return this.#task === true ? this.id : this.#task;
  }

  /** Where the program made the ref, as a line of a stack; null unless POLYRAY_CALL_SITES=1 is set. */
  get callSite(): string | null {
    return this.#callSite;
  }

  /** Notes the task that makes a value; null: the one of the ref's own id. For polyray's own layers. */
  static madeBy(ref: ObjectRef<unknown>, task: string | null, ofMethod: boolean): void {
    ref.#task = task ?? true;
    ref.#ofMethod = ofMethod;
  }

  /** True for what a call of an actor's method gives, in the process that made the call. For polyray's own layers. */
  static isOfMethod(ref: ObjectRef<unknown>): boolean {
    return ref.#ofMethod;
  }

  /** The value: as `get(ref)`. */
  toPromise(): Promise<T> {
    return this.#home.get(this) as Promise<T>;
  }

  /** Drops the reference now; later use throws ObjectFreedError. A second call does nothing. */
  [Symbol.dispose](): void {
    const state = this.#state;
    if (state === released) return;
    this.#id = this.id;
    this.#state = released;
    this.#lazy = null;
    if (state === null) return;
    const { handle } = state;
    state.handle = 0; // its finalizer has nothing to give back
    this.#home.dropRef(handle);
  }

  toJSON(): string {
    return `ObjectRef(${this.id})`;
  }

  [inspect.custom](): string {
    const isReleased = this.#state === released;
    return `ObjectRef(${isReleased && this.#id === null ? "" : this.id}${isReleased ? ", released" : ""})`;
  }

  /** The native handle. Throws ObjectFreedError when the ref was released. For polyray's own layers. */
  static handleOf(ref: ObjectRef<unknown>): number {
    return (ref.#state ?? ref.#resolve()).handle || ref.#refuse();
  }

  /** Its state. Throws ObjectFreedError when the ref was released. For polyray's own layers. */
  static stateOf(ref: ObjectRef<unknown>): RefState {
    const state = ref.#state ?? ref.#resolve();
    if (state.handle === 0) ref.#refuse();
    return state;
  }

  /** True when the object is known to be settled, without asking. A released ref counts as settled. */
  static isSettled(ref: ObjectRef<unknown>): boolean {
    return ref.#state?.settled ?? false;
  }

  /** True for a ref of this store that was not released. */
  static isOf(value: unknown, home: RefHome): value is ObjectRef<unknown> {
    return (
      typeof value === "object" &&
      value !== null &&
      #home in value &&
      value.#home === home &&
      value.#state !== released
    );
  }

  #resolve(): RefState {
    const lazy = this.#lazy as LazyRefs;
    const handle = lazy.acquire(this.#index);
    this.#id = lazy.idOf(this.#index);
    this.#lazy = null;
    if (handle === 0) {
      this.#state = released;
    } else {
      this.#state = new RefState(handle);
      this.#home.collected.register(this, this.#state);
    }
    return this.#state;
  }

  #refuse(): never {
    throw makeError("OBJECT_FREED", `${this.#id ?? "the object"} was released`);
  }
}

/** The handles of refs. Throws ObjectFreedError when one was released. For polyray's own layers. */
export function handlesOf(refs: readonly ObjectRef<unknown>[]): Uint32Array {
  const handles = new Uint32Array(refs.length);
  for (let i = 0; i < refs.length; i++)
    handles[i] = ObjectRef.handleOf(refs[i] as ObjectRef<unknown>);
  return handles;
}

const recordsCallSites = process.env.POLYRAY_CALL_SITES === "1";

/** The innermost line of the stack that is not polyray's (as compiled, or as its source map names it). */
function callSiteNow(): string | null {
  const lines = (new Error().stack ?? "").split("\n").slice(1);
  const isOwn = (line: string): boolean =>
    line.includes("node:") ||
    ["dist/", "ts/"].some((part) => line.includes(`${packageRoot}/${part}`));
  return (
    lines
      .find((line) => !isOwn(line))
      ?.trim()
      .replace(/^at /, "") ?? null
  );
}

/** The ref behind an actor handle or a stream: scopes drop and keep it with them. */
const carried = new WeakMap<object, ObjectRef<unknown>>();

/** Notes the ref that an object (an actor handle, a stream) stands for. For polyray's own layers. */
export function carriesRef(holder: object, ref: ObjectRef<unknown>): void {
  carried.set(holder, ref);
}

/** Takes a ref of polyray's own out of the scope in which it happened to be made. For polyray's own layers. */
export function lasting<R extends ObjectRef<unknown>>(ref: R): R {
  return scopes?.getStore()?.keep(ref) ?? ref;
}

/** Objects that are looked into for what a scope's result holds. */
const maxLookedInto = 100_000;

/** Adds what a container or an object holds. Throws what a Proxy throws. */
function lookInto(value: object, found: unknown[]): void {
  if (value instanceof Map) for (const pair of value) found.push(...pair);
  else if (value instanceof Set) for (const item of value) found.push(item);
  else {
    for (const key of Object.keys(value))
      try {
        found.push(value[key as keyof typeof value]);
      } catch {
        // a getter that throws gives no ref
      }
  }
}

/** The refs made inside a `refScope`, those of actor handles and streams too; disposing drops what was not kept. */
export class RefScope {
  readonly #refs = new Set<ObjectRef<unknown>>();

  /** Adds a ref, or an actor handle, to drop at the end. Gives back what it was given. */
  add<R extends object>(value: R): R {
    const ref = value instanceof ObjectRef ? value : carried.get(value);
    if (ref === undefined)
      throw makeError("INVALID_ARGUMENT", "a scope takes refs, actor handles and streams");
    this.#refs.add(ref);
    return value;
  }

  /**
   * Takes out a ref, a handle or a stream, and what an array, Map, Set or object holds of them: they live on. Gives back
   * what it was given. What throws when it is read is passed over; of a value of more than 100000 objects that are none
   * of these, all refs of the scope are kept: the garbage collector drops them.
   */
  keep<V>(value: V): V {
    const seen = new Set<object>();
    const open: unknown[] = [value];
    while (open.length > 0 && this.#refs.size > 0) {
      const next = open.pop();
      if (typeof next !== "object" || next === null || seen.has(next)) continue;
      try {
        if (this.#keepOne(next)) continue;
        seen.add(next);
        lookInto(next, open);
      } catch {
        // a Proxy that refuses
      }
      if (seen.size > maxLookedInto) this.#refs.clear();
    }
    return value;
  }

  /** True when nothing is to be looked for inside. */
  #keepOne(value: object): boolean {
    const ref = value instanceof ObjectRef ? value : carried.get(value);
    if (ref !== undefined) this.#refs.delete(ref);
    return ref !== undefined || ArrayBuffer.isView(value);
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
 * Runs `body`; refs made in it (also after its awaits) are dropped at its end, and with them actors of whose handles none
 * is left; except what its result holds, and what `scope.keep` took.
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
    try {
      return scope.keep(value);
    } finally {
      scope[Symbol.dispose]();
    }
  }
  function fail(error: unknown): never {
    scope[Symbol.dispose]();
    throw error;
  }
}
