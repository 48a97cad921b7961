// SPDX-License-Identifier: Apache-2.0
// Vocabulary of the native tests: a real node in this process, stores and bare endpoints on it,
// other processes and threads.

import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type AttachInfo, EndpointKind, type NativeBinding } from "../../../ts/native/binding.ts";
import { EventReader } from "../../../ts/native/events.ts";
import { guardianPath, loadNative } from "../../../ts/native/load.ts";
import { ObjectStore } from "../../../ts/object/store.ts";

/** How other processes reach the node. */
export interface NodeAddress {
  readonly socketName: string;
  readonly token: string;
}

export interface TestNode extends NodeAddress {
  stop(): void;
}

/** Starts a node in this process, with a session folder of its own. */
export function startNode(storeBytes = 512 * 1024 * 1024): TestNode {
  const sessionDir = mkdtempSync(join(tmpdir(), "polyray-native-"));
  const token = "t".repeat(32);
  const socketName = loadNative().startRaylet({
    sessionName: `polyray-test-${process.pid}-${Date.now()}`,
    sessionToken: token,
    sessionDir,
    guardianPath: guardianPath(),
    nodeTag: 0,
    objectStoreBytes: storeBytes,
    plasmaDirectory: "",
    spillFolders: "",
    resources: { CPU: 20000 },
    maxIdleWorkers: 0,
    workerStartLimit: 4,
  });
  return {
    socketName,
    token,
    stop() {
      loadNative().stopRaylet(100);
      rmSync(sessionDir, { recursive: true, force: true });
    },
  };
}

export function attachOptions(node: NodeAddress, job = 0) {
  return {
    socketName: node.socketName,
    token: node.token,
    kind: EndpointKind.driver,
    startupToken: "0",
    job,
    sendStdio: false,
  };
}

/** A store on the node, in this environment. */
export function openStore(node: NodeAddress, onEvent?: (reader: EventReader) => void): ObjectStore {
  return ObjectStore.open(loadNative(), {
    attach: attachOptions(node),
    ...(onEvent === undefined ? {} : { onEvent }),
  });
}

/** The bare binding, attached; every record goes to `onEvent`. */
export function attachBare(
  node: NodeAddress,
  onEvent: (reader: EventReader) => void = () => {},
): { native: NativeBinding; info: AttachInfo } {
  const native = loadNative();
  let reader: EventReader | null = null;
  const info = native.attach(attachOptions(node), (bytes, extras) => {
    reader?.begin(bytes, extras);
    while (reader?.next()) onEvent(reader);
  });
  reader = new EventReader(info);
  return { native, info };
}

/** Runs a fixture beside the tests as another process, under the same loader. */
export function forkFixture(name: string, args: readonly string[]): ChildProcess {
  const path = fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
  return fork(path, args, {
    execArgv: ["--import=tsx"],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
}

/** The next message of a child. */
export function messageOf<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once("message", (message) => resolve(message as T));
    child.once("exit", (code, signal) => reject(new Error(`the child ended (${code ?? signal})`)));
  });
}

/** Waits until a condition holds; the watchdog of the test run ends a wait in vain. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}
