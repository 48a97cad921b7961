// SPDX-License-Identifier: Apache-2.0
// Worker plugins: code of the program that every worker runs before its first call. They lie in the store until the job ends,
// and their ids are part of the worker key, so that workers without them are not used.

import { makeError } from "../base/errors.ts";
import { EntryFlag } from "../native/binding.ts";
import { lasting, ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";
import { decodeMaybeFunctions } from "./function-values.ts";
import { executing, type Interceptor } from "./interceptors.ts";

/** What a plugin does in a worker. The functions travel with their captured variables. */
export interface WorkerPlugin {
  /** Runs before the worker's first call. An error fails all calls of that worker. */
  readonly setup?: () => unknown;
  /** Runs when the worker ends in order; synchronous. */
  readonly teardown?: () => void;
}

type Parts = WorkerPlugin & { readonly execute?: Interceptor };

/** Gives a plugin to the workers that start from now on. Takes effect at once in an inline runtime. */
export function addPlugin(connection: Connection, parts: Parts): void {
  if (connection.onSpec !== null) return void startPlugin(parts);
  const { store } = connection;
  const handle = store.putEncoded(store.encode(parts, "plugin"), undefined, EntryFlag.keep);
  const ref = lasting(store.refOf(handle));
  const plugins = [...(connection.keyBase.plugins ?? []), ref.id];
  connection.plugins.push(ref);
  connection.keyBase = { ...connection.keyBase, plugins };
  connection.keyVersion++;
}

/** Worker: loads the plugins of its key, in order. */
export async function loadPlugins(connection: Connection): Promise<void> {
  const { store, keyBase } = connection;
  for (const id of keyBase.plugins ?? []) {
    const ref = ObjectRef.fromId(id);
    const parts = await decodeMaybeFunctions(() => {
      const found = store.peek(ref);
      if (found === undefined)
        throw makeError("OBJECT_LOST", "a worker plugin is not in the store");
      return found.value as Parts;
    });
    await startPlugin(parts);
  }
}

async function startPlugin({ setup, teardown, execute }: Parts): Promise<void> {
  if (teardown !== undefined) process.once("exit", () => teardown());
  if (execute !== undefined) executing.add(execute);
  await setup?.();
}
