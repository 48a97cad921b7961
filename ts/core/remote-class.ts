// SPDX-License-Identifier: Apache-2.0
// Remote classes: what `remote(Class)` and `pyActor()` give. Creating an actor returns its handle at once; the control
// service places it and runs the constructor. Calls wait in the native client until it is alive.
//
// A named actor is created in one blocking exchange with the control service (a fraction of a millisecond): that its name
// is taken is an error of `remote()` itself, and getIfExists gives a handle of the one that exists.

import { userAmounts } from "../base/amounts.ts";
import { InvalidOptionError, makeError, type PolyrayError } from "../base/errors.ts";
import { idFromBytes, idToBytes } from "../base/ids.ts";
import { ActorPhase } from "../native/binding.ts";
import { ObjectRef } from "../object/ref.ts";
import { type Encoded, encodeArgs, encodeError, plainContext } from "../object/serialize.ts";
import { type MethodFields, methodDefaults, type TaskSpecInit } from "../wire/task-spec.ts";
import {
  type ActorCore,
  actorReady,
  coreOf,
  type HandleMeta,
  makeActorHandle,
} from "./actor-handle.ts";
import { encodeCallArgs } from "./call.ts";
import { takeTrace } from "./call-options.ts";
import type { Connection } from "./connection.ts";
import { connection } from "./context.ts";
import { endStreams, type Given, handedOver } from "./handed-over.ts";
import { methodsOf } from "./methods.ts";
import { checkActorOptions, highWaterMarkOf, resourceAmounts } from "./options.ts";
import { place } from "./placement.ts";
import { defaultHighWaterMark } from "./remote-function.ts";
import type { RemoteSource } from "./remote-source.ts";
import { type RetryExtras, retryRules } from "./retry.ts";
import { languageOf, type SpecContent, type StoredSpec } from "./specs.ts";
import { constructorName, tracing } from "./tracing.ts";
import type { ActorOptions } from "./types.ts";
import { workerKey } from "./worker-key.ts";

export class RemoteClassCore {
  /** @internal */
  readonly source: RemoteSource;
  /** @internal */
  readonly actorOptions: ActorOptions;

  constructor(source: RemoteSource, options: ActorOptions) {
    checkActorOptions(options, `remote class ${source.name}`);
    this.source = source;
    this.actorOptions = options;
  }

  /** Creates an actor. */
  remote(...args: unknown[]): object {
    const current = connection();
    const { on } = tracing;
    if (on === null) return createActor(current, this, args);
    const { name, target } = this.source;
    const method = `${name}.${constructorName(languageOf(target))}`;
    return on.submit({ kind: "method", name: method }, () => createActor(current, this, args));
  }

  /** The same class with other options on top of these. */
  options(options: ActorOptions): RemoteClassCore {
    checkActorOptions(options, `remote class ${this.source.name}`);
    return new RemoteClassCore(this.source, { ...this.actorOptions, ...options });
  }

  /** @internal The spec of these options. */
  spec(current: Connection, scheduling: string | null = null): StoredSpec {
    const { init: plain, extras, identity } = this.init();
    const init = { ...plain, scheduling };
    return this.source.specOf(
      current,
      JSON.stringify([init, identity]),
      "",
      { init, extras },
      (ref, id) => ({ ref, id, number: 0 }),
    );
  }

  /** @internal */
  init(): SpecContent & { readonly init: TaskSpecInit; readonly identity: unknown } {
    const { source, actorOptions: options } = this;
    const { methods, extras, identity } = this.#methods();
    const init: TaskSpecInit = {
      kind: "actor_class",
      language: languageOf(source.target),
      name: source.name,
      resources: userAmounts(resourceAmounts(options, 0)),
      envVars: options.runtimeEnv?.envVars ?? {},
      maxConcurrency: options.maxConcurrency ?? 0,
      maxRestarts: options.maxRestarts ?? 0,
      maxTaskRetries: options.maxTaskRetries ?? 0,
      maxRetries: 0,
      actorName: options.name ?? null,
      namespace: options.namespace ?? null,
      lifetime: options.lifetime ?? null,
      maxPendingCalls: options.maxPendingCalls ?? -1,
      streamHighWaterMark: defaultHighWaterMark,
      concurrencyGroups: options.concurrencyGroups ?? {},
      methods,
    };
    return { init, extras, identity };
  }

  #methods(): { methods: MethodFields[]; extras: unknown; identity: unknown } {
    const { methods, methodOptions = {}, language } = this.meta();
    const { target } = this.source;
    const asked = target.kind === "value" ? methodsOf(target.fn).asked : {};
    const extras: Record<string, RetryExtras & { highWaterMark?: number }> = {};
    const identity: unknown[] = [];
    const fields = methods.map((name) => {
      const own = methodOptions[name] ?? {};
      const { numReturns = 1, stream = false, maxTaskRetries = 0, timeoutMs = 0 } = own;
      const mine = asked[name] ?? {};
      this.#checkGroup(own.concurrencyGroup, name);
      const rules = retryRules(mine, language, `method ${this.source.name}.${name}`);
      const highWaterMark = highWaterMarkOf(mine);
      if (rules.extras !== null || highWaterMark !== null)
        extras[name] = { ...rules.extras, ...(highWaterMark === null ? {} : { highWaterMark }) };
      identity.push(rules.identity, highWaterMark);
      return {
        ...methodDefaults,
        name,
        numReturns,
        isGenerator: stream,
        maxTaskRetries,
        timeoutMs,
        concurrencyGroup: own.concurrencyGroup ?? null,
        retryExceptions: rules.enabled,
        retryExceptionList: rules.names,
      };
    });
    return { methods: fields, extras: Object.keys(extras).length > 0 ? extras : null, identity };
  }

  #checkGroup(group: string | undefined, method: string): void {
    const groups = this.actorOptions.concurrencyGroups ?? {};
    if (group === undefined || group in groups) return;
    throw new InvalidOptionError(
      `[invalid option] ${this.source.name}.${method} asks for the concurrency group "${group}", which the class does not have (it has: ${Object.keys(groups).join(", ") || "none"}). Give concurrencyGroups: { ${group}: 1 }.`,
    );
  }

  /** @internal What handles of its actors carry. */
  meta(): HandleMeta {
    const { source, actorOptions: options } = this;
    const { target } = source;
    const base = {
      language: languageOf(target),
      className: source.name,
      maxTaskRetries: options.maxTaskRetries ?? 0,
      maxPendingCalls: options.maxPendingCalls ?? -1,
      name: options.name ?? null,
      ...(options.ordered === false ? { ordered: false } : {}),
    };
    if (target.kind === "module") return { ...base, methods: [] };
    const { names, own } =
      target.kind === "value"
        ? methodsOf(target.fn)
        : { names: target.methods, own: target.methodOptions };
    return { ...base, methods: names, methodOptions: own };
  }

  get [Symbol.toStringTag](): string {
    return `RemoteClass(${this.source.name})`;
  }
}

function createActor(
  current: Connection,
  remote: RemoteClassCore,
  args: readonly unknown[],
): object {
  const { source, actorOptions: options } = remote;
  const meta = remote.meta();
  const placed = place(current, options, resourceAmounts(options, 0));
  const spec = remote.spec(current, placed.scheduling);
  const encoded = encodeCallArgs(current, args, takeTrace(), encodeArgs);
  const given = handedOver.found;
  const namespace = options.namespace ?? current.place.namespace;
  const fields = {
    spec: idToBytes(spec.ref.id),
    language: meta.language,
    className: source.name,
    handle: meta,
    methods: meta.methods,
    name: meta.name ?? "",
    namespace,
    lifetime: options.lifetime,
    getIfExists: options.getIfExists ?? false,
    maxRestarts: options.maxRestarts ?? 0,
    maxTaskRetries: options.maxTaskRetries ?? 0,
    maxConcurrency: options.maxConcurrency ?? 1,
    isAsync: false,
    resources: placed.amounts,
    group: placed.group ?? "",
    workerKey: workerKey(current.keyBase, meta.language, options.runtimeEnv),
    job: current.keyBase.job,
    refs: encoded.refs.map((id) => idToBytes(id)),
    topRefs: encoded.argRefCount,
  };
  const ref = current.store.refOf(current.native.createActorObject());
  if (meta.name !== null) return createNamed(current, ref, meta, fields, encoded, given);
  const handle = makeActorHandle(current, ref, meta);
  endWithConstructor(handle, given);
  // `args` and `spec` stay alive until the control service holds what is in them.
  current.createActor(ref, fields, encoded).then(
    () => void [args, spec],
    (error: PolyrayError) => failActor(current, coreOf(handle), error),
  );
  return handle;
}

function createNamed(
  current: Connection,
  ref: ObjectRef,
  meta: HandleMeta,
  fields: Record<string, unknown>,
  encoded: Encoded,
  given: Given[] | null,
): object {
  let answer: Record<string, unknown>;
  try {
    answer = current.createActorNow(ref, fields, encoded);
  } catch (error) {
    endStreams(given);
    throw error;
  }
  const id = idFromBytes(answer.actor as Uint8Array);
  if (id === ref.id) {
    const handle = makeActorHandle(current, ref, meta);
    endWithConstructor(handle, given);
    return handle;
  }
  endStreams(given);
  ref[Symbol.dispose]();
  return makeActorHandle(current, current.store.refOfId(id), answer.handle as HandleMeta);
}

/** Nobody reads the streams that were given to a constructor that fails. */
function endWithConstructor(handle: object, given: Given[] | null): void {
  if (given === null) return;
  actorReady(coreOf(handle)).catch(() => endStreams(given));
}

/** Calls of an actor that was never made fail with the reason. */
function failActor(current: Connection, core: ActorCore, error: PolyrayError): void {
  if (!current.isOpen) return;
  const died = makeError(
    "ACTOR_DIED",
    `${core.meta.className} could not be created: ${error.message}`,
    { actorId: core.ref.id, cause: error },
  );
  const envelope = encodeError(died, plainContext).toBytes();
  current.native.setActorState(ObjectRef.handleOf(core.ref), ActorPhase.dead, 0, 0, 0, 0, envelope);
  current.store.flushSoon();
}
