// SPDX-License-Identifier: Apache-2.0
// Spec objects -> functions and classes of this process, each loaded once.
//
// A module that does not load, or lacks the export, is a RuntimeEnvSetupError naming module and reason: the caller gets it
// as the task's error.

import { makeError, PolyrayError } from "../base/errors.ts";
import type { HandleMeta, MethodDefaults } from "../core/actor-handle.ts";
import { reviveValue } from "../core/function-values.ts";
import { rememberSpec } from "../core/remote-codec.ts";
import type { RetryExtras } from "../core/retry.ts";
import { importUser } from "../core/user-module.ts";
import { lasting, ObjectRef } from "../object/ref.ts";
import type { ObjectStore } from "../object/store.ts";
import { decodeTaskSpec, type MethodFields, type TaskSpecFields } from "../wire/task-spec.ts";

// biome-ignore lint/suspicious/noExplicitAny: user code of any signature
export type UserFunction = (...args: any[]) => unknown;

export interface LoadedSpec {
  readonly fields: TaskSpecFields;
  readonly fn: UserFunction;
  /** Values that its options carry; null: none. */
  readonly extras: SpecExtras | null;
}

/** What travels beside a spec. */
interface SpecExtras {
  readonly task: RetryExtras;
  readonly methods: Readonly<Record<string, RetryExtras & { readonly highWaterMark?: number }>>;
}

const loaded = new Map<number, LoadedSpec>();
const loading = new Map<number, Promise<LoadedSpec>>();
let findTarget: (specId: string) => UserFunction | null = () => null;

/** The inline mode: functions of this process itself, by the id of their spec. */
export function useTargets(find: (specId: string) => UserFunction | null): void {
  findTarget = find;
}

/** The loaded spec of a spec handle, when it is there already. */
export function knownSpec(handle: number): LoadedSpec | undefined {
  return loaded.get(handle);
}

let refusal: PolyrayError | null = null;

/** No spec loads any more: the worker's set-up failed. */
export function refuseSpecs(error: PolyrayError): void {
  refusal = error;
}

/** Loads a spec. Rejects with a PolyrayError, or with what the module's own code threw. */
export function loadSpec(store: ObjectStore, handle: number): Promise<LoadedSpec> {
  if (refusal !== null) return Promise.reject(refusal);
  let promise = loading.get(handle);
  if (promise === undefined) {
    promise = load(store, handle).then((spec) => {
      loaded.set(handle, spec);
      return spec;
    });
    loading.set(handle, promise);
    promise.catch(() => loading.delete(handle));
  }
  return promise;
}

/** Loads a spec now when its function is one of this process (`useTargets`). */
export function loadTarget(store: ObjectStore, handle: number): void {
  if (loaded.has(handle)) return;
  store.native.retainHandle(handle);
  const ref = lasting(store.refOf(handle));
  const { fields, payload, extras } = readSpec(store, ref);
  let code: ReadSpec & { readonly ref: ObjectRef } = { fields, payload, extras, ref };
  for (let base = baseOf(payload); base !== null; base = baseOf(code.payload))
    code = { ...readSpec(store, base), ref: base };
  const fn = findTarget(code.ref.id);
  if (fn !== null) loaded.set(handle, { fields, fn, extras });
  else ref[Symbol.dispose]();
}

async function load(store: ObjectStore, handle: number): Promise<LoadedSpec> {
  store.native.retainHandle(handle);
  const ref = store.refOf(handle);
  const { fields, payload, extras } = readSpec(store, ref);
  if (fields.language !== "ts")
    throw makeError(
      "BROKEN_INVARIANT",
      `a ${fields.language} function came to a TypeScript worker`,
    );
  let code: ReadSpec & { readonly ref: ObjectRef } = { fields, payload, extras, ref };
  for (let base = baseOf(payload); base !== null; base = baseOf(code.payload))
    code = { ...readSpec(store, base), ref: base };
  remember(code);
  const fn =
    code.fields.form === "value"
      ? await revive(fields, code.payload)
      : await importExport(code.fields);
  return { fields, fn, extras };
}

/** The spec whose code this one runs under other options. */
function baseOf(payload: unknown): ObjectRef | null {
  const base = (payload as { base?: unknown } | null)?.base;
  return base instanceof ObjectRef ? base : null;
}

interface ReadSpec {
  readonly fields: TaskSpecFields;
  readonly payload: unknown;
  readonly extras: SpecExtras | null;
}

function readSpec(store: ObjectStore, ref: ObjectRef): ReadSpec {
  const found = store.peek(ref);
  if (found === undefined)
    throw makeError("OBJECT_LOST", "the function's code is no longer in the store: its job ended");
  const [spec, payload, more] = found.value as [Uint8Array, unknown, unknown];
  const fields = decodeTaskSpec(spec);
  return { fields, payload, extras: more === undefined ? null : extrasOf(fields, more) };
}

function extrasOf(fields: TaskSpecFields, more: unknown): SpecExtras {
  if (fields.kind === "task") return { task: more as RetryExtras, methods: {} };
  return { task: {}, methods: more as SpecExtras["methods"] };
}

/** A function that calls itself remotely finds its own spec. */
function remember({ ref, fields, payload }: ReadSpec & { readonly ref: ObjectRef }): void {
  const { key, id } = (payload ?? {}) as { key?: unknown; id?: unknown };
  if (typeof key !== "string" || typeof id !== "string") return;
  rememberSpec(key, fields.name, {
    kind: "spec",
    ref,
    id,
    language: "ts",
    isGenerator: fields.isGenerator,
    methods: fields.methods.map((one) => one.name),
    methodOptions: Object.fromEntries(
      fields.methods.map((method) => [method.name, methodDefaultsOf(method)]),
    ),
  });
}

/** What handles have to know of a method, from its spec. */
export function methodDefaultsOf(method: MethodFields): MethodDefaults {
  const { numReturns, isGenerator, timeoutMs, maxTaskRetries, concurrencyGroup } = method;
  return {
    numReturns,
    stream: isGenerator,
    ...(timeoutMs > 0 ? { timeoutMs } : {}),
    ...(maxTaskRetries === 0 ? {} : { maxTaskRetries }),
    ...(concurrencyGroup === null ? {} : { concurrencyGroup }),
  };
}

/** What handles of an actor of this class carry. */
export function handleMetaOf(fields: TaskSpecFields): HandleMeta {
  return {
    language: "ts",
    className: fields.name,
    methods: fields.methods.map((one) => one.name),
    maxTaskRetries: fields.maxTaskRetries,
    maxPendingCalls: fields.maxPendingCalls,
    name: fields.actorName,
    methodOptions: Object.fromEntries(
      fields.methods.map((method) => [method.name, methodDefaultsOf(method)]),
    ),
  };
}

async function revive(fields: TaskSpecFields, payload: unknown): Promise<UserFunction> {
  try {
    return (await reviveValue(payload)) as UserFunction;
  } catch (error) {
    if (error instanceof PolyrayError) throw error;
    throw makeError(
      "RUNTIME_ENV_SETUP",
      `"${fields.name}" could not be built in the worker: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

async function importExport(fields: TaskSpecFields): Promise<UserFunction> {
  const specifier = fields.module ?? "";
  const name = fields.exportName ?? "default";
  let namespace: Record<string, unknown>;
  try {
    namespace = (await importUser(specifier)) as Record<string, unknown>;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw makeError(
      "RUNTIME_ENV_SETUP",
      `module ${specifier} does not load in the worker: ${why}`,
      { cause: error },
    );
  }
  const value = name
    .split(".")
    .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], namespace);
  if (typeof value !== "function") {
    const has = Object.keys(namespace).filter((key) => typeof namespace[key] === "function");
    throw makeError(
      "RUNTIME_ENV_SETUP",
      `module ${specifier} has no function or class "${name}" (it exports: ${has.join(", ") || "none"})`,
    );
  }
  return value as UserFunction;
}
