// SPDX-License-Identifier: Apache-2.0
// The current-runtime slot: the layer that starts or joins a runtime (api, worker) fills it,
// everything else reads it.
// One per JS environment. Neither api nor worker needs to import the other.

import { makeError } from "../base/errors.ts";
import { fromIdHook } from "./ref.ts";
import type { ObjectStore } from "./store.ts";

let current: ObjectStore | null = null;

/** Fills the slot; null empties it. */
export function setCurrentStore(store: ObjectStore | null): void {
  current = store;
  fromIdHook.make = store === null ? null : (id) => store.refOfId(id);
}

/** The store of this environment. Throws NotInitializedError. */
export function currentStore(): ObjectStore {
  if (current === null) throw makeError("NOT_INITIALIZED", "no runtime runs in this process");
  return current;
}

/** The store of this environment, or null. */
export function currentStoreOrNull(): ObjectStore | null {
  return current;
}
