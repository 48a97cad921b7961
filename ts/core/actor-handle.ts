// SPDX-License-Identifier: Apache-2.0
// Handles of actors: an object with a remote method per method of the class, made here or received in a value.
//
// A handle owns a reference to the actor's lifetime object; when all are gone the actor ends. Methods are made when they
// are first used. A handle is never thenable. Unknown names are a clear error when the methods are known; a handle whose
// methods are not known (a Python class created from TypeScript) takes any name.

import { InvalidOptionError, makeError } from "../base/errors.ts";
import { ActorPhase, CallFlag } from "../native/binding.ts";
import { carriesRef, ObjectRef } from "../object/ref.ts";
import type { HandleForm } from "../object/values.ts";
import { type CallExtras, type CallSettings, defaultCall, submitActorCall } from "./call.ts";
import type { Connection } from "./connection.ts";
import { GraphNode } from "./graph-node.ts";
import { submitting } from "./interceptors.ts";
import { asksStream, checkCallOptions, highWaterMarkOf, returnCount } from "./options.ts";
import { retryRules } from "./retry.ts";
import { openStream } from "./streams.ts";
import type { TaskOptions, WaitOptions } from "./types.ts";

/** What a handle carries besides the lifetime object. */
export interface HandleMeta {
  readonly language: "ts" | "py";
  readonly className: string;
  readonly methods: readonly string[];
  readonly maxTaskRetries: number;
  readonly name: string | null;
  /** Calls that may wait; -1 or absent: no limit. */
  readonly maxPendingCalls?: number;
  /** False: a call that waits for its arguments is overtaken. */
  readonly ordered?: boolean;
  /** Own options of methods (decorators). */
  readonly methodOptions?: Readonly<Record<string, MethodDefaults>>;
}

/** What a class says of one method. */
export interface MethodDefaults {
  readonly numReturns?: number;
  readonly maxTaskRetries?: number;
  readonly stream?: boolean;
  readonly timeoutMs?: number;
  readonly concurrencyGroup?: string;
}

/** The part of a handle that polyray uses. */
export class ActorCore {
  readonly connection: Connection;
  readonly ref: ObjectRef;
  readonly meta: HandleMeta;
  readonly maxPendingCalls: number;
  /** The actor's phase was told once: the control service goes on telling it. */
  #isKnown = false;

  constructor(connection: Connection, ref: ObjectRef, meta: HandleMeta) {
    this.connection = connection;
    this.ref = ref;
    this.meta = meta;
    this.maxPendingCalls = meta.maxPendingCalls ?? -1;
  }

  /** True when a call would be refused. */
  get isFull(): boolean {
    if (this.maxPendingCalls < 0) return false;
    return (
      this.connection.native.actorPendingCalls(ObjectRef.handleOf(this.ref)) >= this.maxPendingCalls
    );
  }

  call(method: string, args: readonly unknown[], settings: CallSettings): ObjectRef | ObjectRef[] {
    const { native } = this.connection;
    const handle = ObjectRef.handleOf(this.ref);
    if (!this.#isKnown) {
      this.#isKnown = native.actorPhase(handle) !== ActorPhase.unknown;
      if (!this.#isKnown) this.connection.watch(this.ref);
    }
    if (this.isFull) {
      throw makeError(
        "PENDING_CALLS_LIMIT",
        `${this.meta.className}: ${this.maxPendingCalls} calls are waiting already`,
        { actorId: this.ref.id },
      );
    }
    return submitActorCall(this.connection, handle, method, args, settings);
  }
}

/** A method of a handle. */
export class ActorMethod {
  readonly #core: ActorCore;
  readonly #name: string;
  readonly #settings: CallSettings;

  constructor(core: ActorCore, name: string, settings: CallSettings) {
    this.#core = core;
    this.#name = name;
    this.#settings = settings;
  }

  remote(...args: unknown[]): unknown {
    if (submitting.run === null) return this.#submit(args);
    const name = `${this.#core.meta.className}.${this.#name}`;
    return submitting.run({ kind: "method", name, args }, (call) => this.#submit(call.args));
  }

  #submit(args: readonly unknown[]): unknown {
    const refs = this.#core.call(this.#name, args, this.#settings);
    return (this.#settings.flags & CallFlag.streaming) === 0
      ? refs
      : openStream(this.#core.connection, refs as ObjectRef);
  }

  /** A node of a lazy graph. */
  bind(...args: unknown[]): GraphNode {
    return new GraphNode(this, args);
  }

  /** A call per item. */
  map(items: Iterable<unknown>): unknown[] {
    return Array.from(items, (item) => this.remote(item));
  }

  options(options: TaskOptions): ActorMethod {
    const base = this.#settings;
    const { meta } = this.#core;
    const where = `method ${meta.className}.${this.#name}`;
    checkCallOptions(options, where);
    const errors = options.retryExceptions ?? options.retryErrors ?? options.retry !== undefined;
    const flags =
      (asksStream(options) ? CallFlag.streaming : 0) |
      (errors === true ? CallFlag.retryExceptions : 0);
    return new ActorMethod(this.#core, this.#name, {
      numReturns: options.numReturns === undefined ? base.numReturns : returnCount(options),
      flags: base.flags | flags,
      maxRetries: options.maxTaskRetries ?? options.retry?.max ?? base.maxRetries,
      timeoutMs: options.timeoutMs ?? base.timeoutMs,
      signal: options.signal ?? base.signal,
      extras: joinExtras(base.extras, callExtras(options, meta.language, where)),
    });
  }

  /** Resolves when there is room for a call. */
  async ready(options: WaitOptions = {}): Promise<void> {
    const core = this.#core;
    const { signal, timeoutMs = Number.POSITIVE_INFINITY } = options;
    const end = Date.now() + timeoutMs;
    for (let pauseMs = 1; core.isFull; pauseMs = Math.min(pauseMs * 2, 20)) {
      signal?.throwIfAborted();
      if (Date.now() >= end)
        throw makeError(
          "GET_TIMEOUT",
          `${core.meta.className} had no room for a call within ${timeoutMs} ms`,
        );
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

function callExtras(options: TaskOptions, language: "ts" | "py", where: string): CallExtras {
  const { concurrencyGroup, name, retry } = options;
  const highWaterMark = highWaterMarkOf(options);
  const errors = options.retryExceptions ?? options.retryErrors;
  if (typeof errors === "function")
    throw new InvalidOptionError(
      `[invalid option] ${where}: a function of retryErrors belongs to @method({...}); a call takes true, false or classes.`,
    );
  const list = retryRules({ retryErrors: errors ?? false }, language, where).names;
  return {
    ...(concurrencyGroup === undefined ? {} : { group: concurrencyGroup }),
    ...(highWaterMark === null ? {} : { highWaterMark }),
    ...(name === undefined ? {} : { name }),
    ...(errors === undefined ? {} : { retry: list === null ? errors !== false : namesOf(list) }),
    ...(retry === undefined ? {} : { plan: retry }),
  };
}

function namesOf(list: Uint8Array): readonly string[] {
  return JSON.parse(Buffer.from(list).toString("utf8")) as string[];
}

function joinExtras(base: string, more: CallExtras): string {
  if (Object.keys(more).length === 0) return base;
  return JSON.stringify({ ...(base === "" ? {} : (JSON.parse(base) as CallExtras)), ...more });
}

const cores = new WeakMap<object, ActorCore>();

/** Names that the language itself asks of any object: never a remote method. */
const languageNames = new Set([
  "then",
  "toJSON",
  "constructor",
  "prototype",
  "$$typeof",
  "nodeType",
  "asymmetricMatch",
]);

function settingsOf(meta: HandleMeta, name: string): CallSettings {
  const own = meta.methodOptions?.[name];
  const order = meta.ordered === false ? CallFlag.unordered : 0;
  if (own === undefined) return order === 0 ? defaultCall : { ...defaultCall, flags: order };
  return {
    ...defaultCall,
    numReturns: own.numReturns ?? 1,
    timeoutMs: own.timeoutMs ?? 0,
    maxRetries: own.maxTaskRetries ?? defaultCall.maxRetries,
    flags: order | (own.stream === true ? CallFlag.streaming : 0),
  };
}

/** A handle over a lifetime object (whose count the ref owns). */
export function makeActorHandle(connection: Connection, ref: ObjectRef, meta: HandleMeta): object {
  const core = new ActorCore(connection, ref, meta);
  const known = new Set(meta.methods);
  const readyOf = (options?: WaitOptions): Promise<void> => actorReady(core, options);
  const unknownNames = new Proxy(Object.prototype, {
    get(_target, name, handle) {
      if (name === Symbol.toStringTag) return `ActorHandle(${meta.className})`;
      if (typeof name === "symbol" || languageNames.has(name)) return undefined;
      if (!known.has(name) && name in Object.prototype) return Reflect.get(Object.prototype, name);
      if (name === "ready") return withMethod(readyOf, core, known);
      if (known.size > 0 && !known.has(name)) {
        throw makeError(
          "INVALID_ARGUMENT",
          `${meta.className} has no method "${name}"; it has: ${[...known].join(", ")}`,
          { actorId: ref.id },
        );
      }
      const method = new ActorMethod(core, name, settingsOf(meta, name));
      Object.defineProperty(handle, name, { value: method, enumerable: true });
      return method;
    },
  });
  const handle = Object.create(unknownNames) as object;
  Object.defineProperty(handle, Symbol.asyncDispose, {
    value: async () => ref[Symbol.dispose](),
    enumerable: false,
  });
  const text = (): string => `ActorHandle(${meta.className}, ${ref.id})`;
  for (const name of [Symbol.for("nodejs.util.inspect.custom"), "toJSON"] as const)
    if (name !== "toJSON" || !known.has(name))
      Object.defineProperty(handle, name, { value: text, enumerable: false });
  cores.set(handle, core);
  carriesRef(handle, ref);
  return handle;
}

/** Method that every actor of both languages answers once it is constructed. */
export const readyMethod = "__ray_ready__";

/** `ready()` of a handle, with the members of a method when the class has (or may have) one of that name. */
function withMethod(ready: object, core: ActorCore, known: ReadonlySet<string>): object {
  if (known.size > 0 && !known.has("ready")) return ready;
  const method = new ActorMethod(core, "ready", settingsOf(core.meta, "ready"));
  return Object.assign(ready, {
    remote: (...args: unknown[]) => method.remote(...args),
    map: (items: Iterable<unknown>) => method.map(items),
    options: (options: TaskOptions) => method.options(options),
  });
}

/** Resolves when the actor is constructed, rejects when it never will be. */
export async function actorReady(core: ActorCore, options: WaitOptions = {}): Promise<void> {
  const ref = core.call(readyMethod, [], defaultCall) as ObjectRef;
  try {
    await core.connection.store.get(ref, options);
  } finally {
    ref[Symbol.dispose]();
  }
}

/** The core of a handle. Throws for anything else. */
export function coreOf(handle: unknown): ActorCore {
  const core = typeof handle === "object" && handle !== null ? cores.get(handle) : undefined;
  if (core === undefined) throw makeError("INVALID_ARGUMENT", "this is not an actor handle");
  return core;
}

export function isActorHandle(value: object): boolean {
  return cores.has(value);
}

/** Wire form of a handle. */
export function handleParts(handle: object): HandleForm {
  const core = coreOf(handle);
  return { ref: core.ref.id, meta: core.meta };
}
