// SPDX-License-Identifier: Apache-2.0
// Task specs that this environment has put into the store: once per function and options, so that a repeated call sends
// only ids and arguments. The spec object is [TaskSpec bytes, payload]; it is kept until its job ends.
//
// payload: null (an export of a module), {json, values, key, id} (a function by value), or {base: ref} (the code of another
// spec under other options: how a worker changes the options of a function that it was sent). A third element, when there
// is one, holds values that options carry (retry predicates and plans).

import { EntryFlag, Language } from "../native/binding.ts";
import { type FunctionDescriptor, toWire } from "../object/function/index.ts";
import { lasting, ObjectRef } from "../object/ref.ts";
import { encodeTaskSpec, type TaskSpecInit } from "../wire/task-spec.ts";
import type { MethodDefaults } from "./actor-handle.ts";
import type { Connection } from "./connection.ts";
import { describeValue, nameValues } from "./function-values.ts";
import type { RemoteSource } from "./remote-source.ts";

/** A spec in the store. */
export interface StoredSpec {
  readonly ref: ObjectRef;
  /** What distinguishes it from other specs of its source. */
  readonly id: string;
  /** Number for submitTask; 0 when it was not registered (actor classes). */
  readonly number: number;
}

/** What is put for a spec. */
export interface SpecContent {
  readonly init: TaskSpecInit;
  /** Values that go along (retry rules with functions); null: none. */
  readonly extras: unknown;
}

/** What runs: a function or class of this process, an export of a module of either language, or the code of a stored spec. */
export type Target =
  | { readonly kind: "value"; readonly fn: (...args: never[]) => unknown }
  | {
      readonly kind: "module";
      readonly language: "ts" | "py";
      readonly module: string;
      readonly exportName: string;
    }
  | SpecTarget;

/** The code of a spec in the store: what a process was sent. */
export interface SpecTarget {
  readonly kind: "spec";
  readonly ref: ObjectRef;
  /** The spec's id among its source's. */
  readonly id: string;
  readonly language: "ts" | "py";
  readonly isGenerator: boolean;
  /** Classes: their methods. */
  readonly methods: readonly string[];
  readonly methodOptions: Readonly<Record<string, MethodDefaults>>;
}

/** Language that runs a target. */
export function languageOf(target: Target): "ts" | "py" {
  return target.kind === "value" ? "ts" : target.language;
}

/** Sources whose spec is being put now, outermost first, with the sources that each carries by value. */
const putting: { readonly source: RemoteSource; readonly inlined: Set<RemoteSource> }[] = [];

/**
 * How a source travels inside of what is being put: by its own spec; by its key, when it is the one being put (or its
 * code was written already); with its code, when its spec waits for this one (mutual recursion).
 */
export function travelForm(source: RemoteSource): "spec" | "key" | "code" {
  const top = putting.at(-1);
  if (top === undefined || !putting.some((one) => one.source === source)) return "spec";
  if (top.source === source || top.inlined.has(source)) return "key";
  top.inlined.add(source);
  return "code";
}

export class Specs {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Puts a spec. Throws UnserializableError, naming the variable, for a function that cannot travel. */
  put(source: RemoteSource, { init, extras }: SpecContent, id: string): ObjectRef {
    const { target } = source;
    if (target.kind === "spec" && target.id === id) return target.ref;
    putting.push({ source, inlined: new Set() });
    try {
      const { fields, payload, names } = describe(target, source.key, id);
      const bytes = encodeTaskSpec({ ...init, ...fields });
      const store = this.#connection.store;
      const content = extras === null ? [bytes, payload] : [bytes, payload, extras];
      const encoded = nameValues(init.name, names, () => store.encode(content, "spec"));
      const ref = lasting(store.refOf(store.putEncoded(encoded, undefined, EntryFlag.keep)));
      this.#connection.onSpec?.(ref.id, target);
      return ref;
    } finally {
      putting.pop();
    }
  }

  /** Registers a task's spec for submission. */
  register(
    ref: ObjectRef,
    id: string,
    init: TaskSpecInit,
    amounts: Readonly<Record<string, number>>,
    workerKey: string,
  ): StoredSpec {
    const number = this.#connection.native.registerSpec({
      spec: ObjectRef.handleOf(ref),
      language: init.language === "py" ? Language.py : Language.ts,
      leaseFlags: 0,
      priority: init.priority ?? 0,
      resources: amounts,
      workerKey,
      maxRetries: init.maxRetries ?? 3,
    });
    return { ref, id, number };
  }
}

interface Described {
  readonly fields: Partial<TaskSpecInit>;
  readonly payload: unknown;
  readonly names: readonly string[];
}

function describe(target: Target, key: string, id: string): Described {
  if (target.kind === "spec")
    return { fields: { form: "value" }, payload: { base: target.ref }, names: [] };
  if (target.kind === "module") {
    return {
      fields: { form: "module", module: target.module, exportName: target.exportName },
      payload: null,
      names: [],
    };
  }
  const descriptor: FunctionDescriptor = describeValue(target.fn);
  if (descriptor.kind === "module" && descriptor.via === "import") {
    const { specifier, exportName, contentHash } = descriptor;
    return {
      fields: { form: "module", module: specifier, exportName, contentHash },
      payload: null,
      names: [],
    };
  }
  const { json, values, names } = toWire(descriptor);
  return { fields: { form: "value" }, payload: { json, values, key, id }, names };
}
