// SPDX-License-Identifier: Apache-2.0
// Handles of actors: an object with a remote method per method of the class, made here or received in a value.
//
// A handle owns a reference to the actor's lifetime object; when all are gone the actor ends. Methods are made when they
// are first used. A handle is never thenable. Unknown names are a clear error when the methods are known; a handle whose
// methods are not known (a Python class created from TypeScript) takes any name.

import { makeError } from "../base/errors.ts";
import { ActorPhase, CallFlag } from "../native/binding.ts";
import { ObjectRef } from "../object/ref.ts";
import type { HandleForm } from "../object/values.ts";
import { type CallSettings, defaultCall, submitActorCall } from "./call.ts";
import type { Connection } from "./connection.ts";
import { checkCallOptions } from "./options.ts";
import { openStream } from "./streams.ts";
import type { TaskOptions } from "./types.ts";

/** What a handle carries besides the lifetime object. */
export interface HandleMeta {
  readonly language: "ts" | "py";
  readonly className: string;
  readonly methods: readonly string[];
  readonly maxTaskRetries: number;
  readonly name: string | null;
  /** Own options of methods (decorators). */
  readonly methodOptions?: Readonly<Record<string, MethodDefaults>>;
}

/** What a class says of one method. */
export interface MethodDefaults {
  readonly numReturns?: number;
  readonly maxTaskRetries?: number;
  readonly stream?: boolean;
}

/** The part of a handle that polyray uses. */
export class ActorCore {
  readonly connection: Connection;
  readonly ref: ObjectRef;
  readonly meta: HandleMeta;
  maxPendingCalls = -1;
  /** Rejects calls when creating the actor failed before the control service knew it. */
  failed: Error | null = null;

  constructor(connection: Connection, ref: ObjectRef, meta: HandleMeta) {
    this.connection = connection;
    this.ref = ref;
    this.meta = meta;
  }

  call(method: string, args: readonly unknown[], settings: CallSettings): ObjectRef | ObjectRef[] {
    const { native } = this.connection;
    const handle = ObjectRef.handleOf(this.ref);
    if (native.actorPhase(handle) === ActorPhase.unknown) this.connection.watch(this.ref);
    if (this.maxPendingCalls >= 0 && native.actorPendingCalls(handle) >= this.maxPendingCalls) {
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
    const refs = this.#core.call(this.#name, args, this.#settings);
    return this.#settings.flags === 0 ? refs : openStream(this.#core.connection, refs as ObjectRef);
  }

  options(options: TaskOptions): ActorMethod {
    const base = this.#settings;
    checkCallOptions(options, `method ${this.#core.meta.className}.${this.#name}`);
    return new ActorMethod(this.#core, this.#name, {
      numReturns: options.numReturns ?? base.numReturns,
      flags: base.flags,
      maxRetries: options.maxTaskRetries ?? base.maxRetries,
      timeoutMs: options.timeoutMs ?? base.timeoutMs,
      signal: options.signal ?? base.signal,
    });
  }
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
  if (own === undefined) return defaultCall;
  return {
    ...defaultCall,
    numReturns: own.numReturns ?? 1,
    maxRetries: own.maxTaskRetries ?? defaultCall.maxRetries,
    flags: own.stream === true ? CallFlag.streaming : 0,
  };
}

/** A handle over a lifetime object (whose count the ref owns). */
export function makeActorHandle(connection: Connection, ref: ObjectRef, meta: HandleMeta): object {
  const core = new ActorCore(connection, ref, meta);
  const known = new Set(meta.methods);
  const unknownNames = new Proxy(Object.prototype, {
    get(_target, name, handle) {
      if (name === Symbol.toStringTag) return `ActorHandle(${meta.className})`;
      if (typeof name === "symbol" || languageNames.has(name)) return undefined;
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
  Object.defineProperty(handle, Symbol.for("nodejs.util.inspect.custom"), {
    value: () => `ActorHandle(${meta.className}, ${ref.id})`,
    enumerable: false,
  });
  cores.set(handle, core);
  return handle;
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
