// SPDX-License-Identifier: Apache-2.0
// `polyray stop`: ends the started heads of this user, and nothing else. SIGTERM first, SIGKILL after the grace period
// (the guardian then ends the workers and removes the session). Embedded runtimes belong to their drivers and are left.

import { InvalidOptionError } from "../../base/errors.ts";
import { findSession, type JoinedSession, listSessions } from "../../node/session.ts";
import { print, printJson } from "../table.ts";

export interface StopFlags {
  readonly address?: string;
  readonly force?: true;
  readonly gracePeriod: number;
  readonly json?: true;
}

export async function stop(flags: StopFlags): Promise<void> {
  const sessions =
    flags.address === undefined
      ? listSessions().filter((session) => !session.embedded)
      : [startedAt(flags.address)];
  const stopped: { address: string; pid: number; killed: boolean }[] = [];
  for (const session of sessions)
    stopped.push({
      address: session.address,
      pid: session.pid,
      killed: await stopOne(session, flags),
    });
  if (flags.json === true) return printJson({ stopped });
  if (stopped.length === 0) return print(["No runtime of this user was running."]);
  print(
    stopped.map((one) => `Stopped ${one.address} (pid ${one.pid})${one.killed ? ", killed" : ""}.`),
  );
}

// An embedded runtime is its driver: stopping it would end the user's program.
function startedAt(address: string): JoinedSession {
  const session = findSession(address);
  if (!session.embedded) return session;
  throw new InvalidOptionError(
    `[invalid option] ${session.address} is embedded in process ${session.pid} and ends with it: call shutdown() there.`,
  );
}

async function stopOne(session: JoinedSession, flags: StopFlags): Promise<boolean> {
  if (flags.force !== true) {
    signal(session.pid, "SIGTERM");
    const until = Date.now() + flags.gracePeriod * 1000;
    while (Date.now() < until) {
      if (!signal(session.pid, 0)) return false;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  signal(session.pid, "SIGKILL");
  return true;
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
