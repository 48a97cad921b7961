// SPDX-License-Identifier: Apache-2.0
// Task specs that this environment has put into the store: once per function and options, so that a repeated call sends
// only ids and arguments. The spec object is [TaskSpec bytes, payload]; it is kept until its job ends.

import { EntryFlag, Language } from "../native/binding.ts";
import { ObjectRef } from "../object/ref.ts";
import { describeFunction, toWire } from "../object/function/index.ts";
import { encodeTaskSpec, type TaskSpecInit } from "../wire/task-spec.ts";
import type { Connection } from "./connection.ts";

/** A spec in the store. */
export interface StoredSpec {
  readonly ref: ObjectRef;
  /** Number for submitTask; 0 until it was registered. */
  readonly number: number;
}

/** What runs: a JavaScript function or class of this process, or an export of a module of either language. */
export type Target =
  | { readonly kind: "value"; readonly fn: (...args: never[]) => unknown }
  | { readonly kind: "module"; readonly language: "ts" | "py"; readonly module: string; readonly exportName: string };

export class Specs {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Puts a spec. Throws UnserializableError, naming the variable, for a function that cannot travel. */
  put(target: Target, init: TaskSpecInit): ObjectRef {
    const { fields, payload } = describe(target);
    const bytes = encodeTaskSpec({ ...init, ...fields });
    const store = this.#connection.store;
    return store.refOf(store.putEncoded(store.encode([bytes, payload], init.name), undefined, EntryFlag.keep));
  }

  /** Registers a task's spec for submission. */
  register(target: Target, init: TaskSpecInit, amounts: Readonly<Record<string, number>>, workerKey: string): StoredSpec {
    const ref = this.put(target, init);
    const number = this.#connection.native.registerSpec({
      spec: ObjectRef.handleOf(ref),
      language: init.language === "py" ? Language.py : Language.ts,
      leaseFlags: 0,
      priority: init.priority ?? 0,
      resources: amounts,
      workerKey,
      maxRetries: init.maxRetries ?? 3,
    });
    return { ref, number };
  }
}

function describe(target: Target): { fields: Partial<TaskSpecInit>; payload: unknown } {
  if (target.kind === "module") {
    return { fields: { form: "module", module: target.module, exportName: target.exportName }, payload: null };
  }
  const descriptor = describeFunction(target.fn);
  if (descriptor.kind === "module" && descriptor.via === "import") {
    return { fields: { form: "module", module: descriptor.specifier, exportName: descriptor.exportName, contentHash: descriptor.contentHash }, payload: null };
  }
  const { json, values } = toWire(descriptor);
  return { fields: { form: "value" }, payload: { json, values } };
}
