// SPDX-License-Identifier: Apache-2.0
// A cluster for tests: a head in a process of its own that belongs to this program, ends with it, and can be killed.
// A second node is refused: many nodes are not built yet.

import { type ChildProcess, spawn } from "node:child_process";
import { InvalidOptionError, makeError, SystemError } from "../base/errors.ts";
import { distFile } from "../base/package-root.ts";
import { checkOptions } from "../core/checks.ts";
import { readyLine } from "../runtime/ready-line.ts";
import { type InitOptions, initChecks, nodeOptions } from "./init-options.ts";

/** What a node of a TestCluster offers. */
export type TestNodeOptions = Pick<
  InitOptions,
  "numCpus" | "numGpus" | "memory" | "resources" | "labels" | "objectStoreMemory"
>;

/** A node of a TestCluster. */
export interface TestNode {
  readonly nodeId: string;
  readonly address: string;
  /** Its process. */
  readonly pid: number;
  readonly isHead: boolean;
}

interface Started extends TestNode {
  readonly child: ChildProcess;
  readonly lifeline: { destroy(): void };
  readonly gone: Promise<void>;
}

const nodeChecks = {
  numCpus: initChecks.numCpus,
  numGpus: initChecks.numGpus,
  memory: initChecks.memory,
  resources: initChecks.resources,
  labels: initChecks.labels,
  objectStoreMemory: initChecks.objectStoreMemory,
};

/**
 * `await using cluster = await TestCluster.start({ nodes: [{ numCpus: 2 }] })`, then `init({ address: cluster.address })`.
 * `cluster.kill(node, "SIGKILL")` ends a node as a crash would.
 */
export class TestCluster implements AsyncDisposable {
  readonly #nodes: Started[] = [];

  private constructor() {}

  /** Starts the nodes. Rejects with InvalidOptionError, or with SystemError for more than one. */
  static async start(
    options: { readonly nodes?: readonly TestNodeOptions[] } = {},
  ): Promise<TestCluster> {
    checkOptions(
      options,
      { nodes: (v) => (Array.isArray(v) && v.length > 0 ? null : "a list of nodes") },
      "TestCluster.start",
    );
    // Not by its name: the bundler gives a class that names itself another name
    const cluster = new this();
    try {
      for (const node of options.nodes ?? [{}]) await cluster.addNode(node);
    } catch (error) {
      await cluster.shutdown();
      throw error;
    }
    return cluster;
  }

  /** By which programs join. Throws SystemError when no node runs. */
  get address(): string {
    const [head] = this.#nodes;
    if (head === undefined)
      throw new SystemError("[system] this cluster has no node any more: addNode() starts one.");
    return head.address;
  }

  /** The nodes that run. */
  get nodes(): readonly TestNode[] {
    return this.#nodes.map(({ nodeId, address, pid, isHead }) => ({
      nodeId,
      address,
      pid,
      isHead,
    }));
  }

  /** Starts the head node, when there is none. Rejects with SystemError for a second node: that is not built yet. */
  async addNode(options: TestNodeOptions = {}): Promise<TestNode> {
    checkOptions(options, nodeChecks, "addNode");
    if (this.#nodes.length > 0)
      throw makeError(
        "UNSUPPORTED",
        "a cluster has one node for now: many nodes are not built yet. Give the head node all the resources that the program needs",
      );
    const started = await startNode(options);
    this.#nodes.push(started);
    void started.gone.then(() => this.#forget(started));
    const { nodeId, address, pid, isHead } = started;
    return { nodeId, address, pid, isHead };
  }

  /** Sends a signal to a node's process and waits until it is gone. Default SIGKILL: as a crash. */
  async kill(node: TestNode, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const found = this.#nodes.find((one) => one.nodeId === node?.nodeId);
    if (found === undefined)
      throw new InvalidOptionError("[invalid option] kill: no such node runs in this cluster.");
    found.child.ref(); // what is awaited keeps the program alive
    found.child.kill(signal);
    found.lifeline.destroy(); // a node that ends in order still reads it
    await found.gone;
  }

  /** Ends a node in order. */
  removeNode(node: TestNode): Promise<void> {
    return this.kill(node, "SIGTERM");
  }

  /** Ends all nodes in order. */
  async shutdown(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.removeNode(node)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  #forget(node: Started): void {
    const at = this.#nodes.indexOf(node);
    if (at !== -1) this.#nodes.splice(at, 1);
  }
}

function flagsOf(options: TestNodeOptions): string[] {
  const { numCpus, numGpus, memory, resources, labels, objectStoreMemory } = nodeOptions(options);
  const flags = Object.entries({
    "num-cpus": numCpus,
    "num-gpus": numGpus,
    memory,
    "object-store-memory": objectStoreMemory,
    resources: resources === undefined ? undefined : JSON.stringify(resources),
    labels:
      labels === undefined
        ? undefined
        : Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
  });
  return flags.flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, String(value)],
  );
}

// The pipe at fd 3 is its life line: it ends when this process does, however that ends.
async function startNode(options: TestNodeOptions): Promise<Started> {
  const command = distFile("cli", "embedded.js");
  const child = spawn(
    process.execPath,
    [command, "--lifeline-fd", "3", "--ready-fd", "4", ...flagsOf(options)],
    { detached: true, stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] },
  );
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    said = (said + part).slice(-4000);
  });
  const ready = await readyLine(
    child,
    4,
    "close",
    () => `[system] the node did not start: ${said.trim() || "it said nothing"}`,
  );
  // Neither the node nor its pipes keep this program alive.
  child.unref();
  for (const pipe of child.stdio) (pipe as unknown as { unref?: () => void } | null)?.unref?.();
  const { nodeId, address, pid } = JSON.parse(ready) as TestNode;
  const lifeline = child.stdio[3] as unknown as { destroy(): void };
  return { nodeId, address, pid, isHead: true, child, lifeline, gone };
}
