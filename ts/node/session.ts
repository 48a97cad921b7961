// SPDX-License-Identifier: Apache-2.0
// Session folders: how a runtime on this machine is made known to programs of the same user, and found by address.
//
// `${POLYRAY_TMPDIR:-tmp}/polyray-<uid>/session-<id>/` holds node.json, token (mode 0600) and logs/. The folder is the
// directory of sessions; nothing listens for discovery. A session whose raylet process is gone is stale and is ignored
// (and removed when it is ours). No native code here: attaching proves that the socket answers.

import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { SystemError, VersionMismatchError } from "../base/errors.ts";
import { version } from "../base/version.ts";

/** What node.json says. */
export interface SessionInfo {
  readonly sessionId: string;
  readonly address: string;
  readonly socketName: string;
  readonly pid: number;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nodeId: string;
  readonly namespace: string;
  readonly embedded: boolean;
  /** Where its metrics are served on loopback; absent: nowhere. */
  readonly metricsPort?: number | undefined;
}

export interface JoinedSession extends SessionInfo {
  readonly sessionDir: string;
  readonly token: string;
}

/** The folder of this user's sessions (0700), made when it is missing. */
export function sessionsRoot(): string {
  const base = process.env.POLYRAY_TMPDIR ?? tmpdir();
  const root = join(base, `polyray-${userInfo().uid}`);
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    const stat = statSync(root);
    if (stat.uid !== userInfo().uid) throw new Error(`${root} belongs to another user`);
  } catch (error) {
    throw new SystemError(
      `[system] cannot use the session folder ${root}: ${(error as Error).message}. Set POLYRAY_TMPDIR to a folder of yours.`,
      { cause: error },
    );
  }
  return root;
}

export interface NewSession {
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly socketName: string;
  readonly token: string;
}

/** Makes the folder and the token of a new session. */
export function createSession(): NewSession {
  const sessionId = randomBytes(8).toString("hex");
  const sessionDir = join(sessionsRoot(), `session-${sessionId}`);
  mkdirSync(join(sessionDir, "logs"), { recursive: true, mode: 0o700 });
  const token = process.env.POLYRAY_TOKEN ?? randomBytes(24).toString("base64url");
  writeFileSync(join(sessionDir, "token"), token, { mode: 0o600 });
  return { sessionId, sessionDir, socketName: `polyray-${sessionId}`, token };
}

/** Makes the session findable: node.json appears whole or not at all. */
export function publishSession(sessionDir: string, info: SessionInfo): void {
  const temporary = join(sessionDir, `node.json.${process.pid}`);
  writeFileSync(temporary, `${JSON.stringify(info, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, join(sessionDir, "node.json"));
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Sessions of this user whose node process lives, newest first. */
export function listSessions(): JoinedSession[] {
  const root = sessionsRoot();
  const found: JoinedSession[] = [];
  for (const name of readdirSync(root)) {
    if (!name.startsWith("session-")) continue;
    const sessionDir = join(root, name);
    const joined = readSession(sessionDir);
    if (joined !== null && alive(joined.pid)) found.push(joined);
  }
  return found.sort((a, b) => b.startedAtMs - a.startedAtMs);
}

function readSession(sessionDir: string): JoinedSession | null {
  try {
    const info = JSON.parse(readFileSync(join(sessionDir, "node.json"), "utf8")) as SessionInfo;
    const token = readFileSync(join(sessionDir, "token"), "utf8").trim();
    return { ...info, sessionDir, token };
  } catch {
    return null; // not published yet, or being removed: not a session to join
  }
}

/**
 * Finds the session of an address: `session:<id>`, `host:port`, or `auto` (the newest one).
 * Throws SystemError naming what was looked for and what is there, VersionMismatchError for a runtime of another version.
 */
export function findSession(address: string): JoinedSession {
  const sessions = listSessions();
  const wanted = address.trim();
  const match =
    wanted === "auto"
      ? sessions[0]
      : sessions.find((s) => normalAddress(s.address) === normalAddress(wanted));
  if (match !== undefined) return ofThisVersion(match);
  const there =
    sessions.length === 0
      ? "no runtime of this user is running here"
      : `running: ${sessions.map((s) => s.address).join(", ")}`;
  throw new SystemError(
    `[system] no runtime found at address "${address}" (${there}). Start one with \`polyray start --head\`, or call init() without an address.`,
  );
}

function ofThisVersion(session: JoinedSession): JoinedSession {
  if (session.version === version) return session;
  throw new VersionMismatchError(
    `[version mismatch] the runtime at ${session.address} is polyray ${session.version}, this package is ${version}. Install the same version on both sides.`,
  );
}

function normalAddress(address: string): string {
  return address.replace(/^(localhost|\[::1\]|0\.0\.0\.0):/, "127.0.0.1:");
}

/** Removes a session folder (also done by the guardian, which outlives a killed node). */
export function removeSession(sessionDir: string): void {
  if (existsSync(sessionDir)) rmSync(sessionDir, { recursive: true, force: true });
}
