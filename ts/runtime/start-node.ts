// SPDX-License-Identifier: Apache-2.0
// What a head and an embedded runtime start alike: the raylet of a session, and what its node service is told.

import { userAmounts } from "../base/amounts.ts";
import { version } from "../base/version.ts";
import type { NativeBinding } from "../native/binding.ts";
import { guardianPath } from "../native/load.ts";
import type { NewSession } from "../node/session.ts";
import type { NodeConfig } from "./config.ts";
import type { ServiceConfig } from "./service.ts";

/** Worker processes that may be starting at once. */
const workerStartLimit = 4;

/** Starts the raylet as a thread of this process; returns the session with the name of its socket. */
export function startNodeRaylet(
  native: NativeBinding,
  made: NewSession,
  node: NodeConfig,
): NewSession {
  const socketName = native.startRaylet({
    sessionName: made.socketName,
    sessionToken: made.token,
    sessionDir: made.sessionDir,
    guardianPath: guardianPath(),
    nodeTag: 0,
    objectStoreBytes: node.objectStoreBytes,
    plasmaDirectory: node.plasmaDirectory,
    spillFolders: node.spillFolders,
    resources: node.resources,
    maxIdleWorkers: 0,
    workerStartLimit,
  });
  return { ...made, socketName };
}

/** What the node service of a session is told; `address` null: it has no TCP port, and is found by its session. */
export function serviceConfig(
  session: NewSession,
  node: NodeConfig,
  address: string | null,
  namespace: string | undefined,
): ServiceConfig {
  const { sessionId, sessionDir, socketName, token } = session;
  return {
    sessionId,
    sessionDir,
    socketName,
    token,
    address: address ?? `session:${sessionId}`,
    nodeId: sessionId.padEnd(56, "0"),
    namespace: namespace ?? "",
    version,
    resources: userAmounts(node.resources),
    labels: node.labels,
    memory: node.memory,
  };
}
