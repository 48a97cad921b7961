// SPDX-License-Identifier: Apache-2.0
// Which runtime a command asks, and how: it attaches to the session on this machine as a client, which no list shows.

import { attached } from "../api/observer.ts";
import { SystemError } from "../base/errors.ts";
import type { Connection } from "../core/connection.ts";
import { inTime } from "../core/state-request.ts";
import { findSession, type JoinedSession, listSessions } from "../node/session.ts";

/** Flags that all questions have. */
export interface AskFlags {
  readonly address: string;
  /** Seconds. */
  readonly timeout?: number;
  readonly json?: true;
}

/** The session of an address; `auto` is the newest started one, or else the newest that a program embeds. */
export function chosenSession(address: string): JoinedSession {
  if (address !== "auto") return findSession(address);
  const sessions = listSessions();
  const [newest] = [
    ...sessions.filter((session) => !session.embedded),
    ...sessions.filter((session) => session.embedded),
  ];
  if (newest === undefined)
    throw new SystemError(
      "[system] no runtime of this user is running here. Start one with `polyray start --head`, or by init() in a program.",
    );
  return findSession(newest.address);
}

/** Asks the runtime; the question is told how long it may take. */
export async function ask<T>(
  flags: AskFlags,
  run: (current: Connection, timeoutMs: number, session: JoinedSession) => Promise<T>,
): Promise<T> {
  const timeoutMs = (flags.timeout ?? 30) * 1000;
  // Inside, so that what is late is left: an open connection would keep the process.
  return attached(chosenSession(flags.address), (current, session) =>
    inTime(run(current, timeoutMs, session), timeoutMs, "the answer of the runtime"),
  );
}
