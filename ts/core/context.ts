// SPDX-License-Identifier: Apache-2.0
// The current connection of this environment: worker and api fill it, both read it, so that neither imports the other.
// `start` is how the api starts a runtime at the first use (auto-init).

import { makeError } from "../base/errors.ts";
import type { Connection } from "./connection.ts";

let current: Connection | null = null;
let start: (() => Connection) | null = null;

export function setConnection(connection: Connection | null): void {
  current = connection;
}

/** The api's way to start a runtime when there is none yet. */
export function onFirstUse(run: () => Connection): void {
  start = run;
}

/** The connection, or null. */
export function connectionOrNull(): Connection | null {
  return current;
}

/** The connection; starts a runtime when there is none. Throws NotInitializedError. */
export function connection(): Connection {
  if (current !== null) return current;
  if (start === null) throw makeError("NOT_INITIALIZED", "no runtime runs in this process");
  return start();
}
