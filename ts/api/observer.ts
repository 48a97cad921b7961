// SPDX-License-Identifier: Apache-2.0
// Asking a runtime without being a part of it: no job, no worker, nothing that its lists would show.
// For the command line and for programs that have no runtime of their own.

import { Connection } from "../core/connection.ts";
import { driverKeyBase } from "../core/worker-key.ts";
import { EndpointKind } from "../native/binding.ts";
import { loadNative } from "../native/load.ts";
import { findSession, type JoinedSession } from "../node/session.ts";

let last: Promise<void> | null = null;

/** Settles when the questions that were asked so far are answered; null when none is under way. */
export function questions(): Promise<void> | null {
  return last;
}

/** Runs questions that attach one after the other: an environment has one connection. */
export function inTurn<T>(question: () => Promise<T>): Promise<T> {
  const turn = last === null ? question() : last.then(question);
  const over = turn.then(free, free);
  last = over;
  return turn;

  function free(): void {
    if (last === over) last = null;
  }
}

/**
 * Attaches to the runtime at an address, runs a question, leaves. REQUIRES: this environment is not attached.
 * Rejects with SystemError when nothing runs there.
 */
export async function attached<T>(
  address: string | JoinedSession,
  run: (current: Connection, session: JoinedSession) => Promise<T>,
): Promise<T> {
  const session = typeof address === "string" ? findSession(address) : address;
  const current = new Connection(
    loadNative(),
    {
      socketName: session.socketName,
      token: session.token,
      kind: EndpointKind.client,
      startupToken: "0",
      job: 0,
      sendStdio: false,
    },
    driverKeyBase(0, session.namespace),
    session,
  );
  try {
    return await run(current, session);
  } finally {
    current.close();
  }
}
