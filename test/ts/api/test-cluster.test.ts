// SPDX-License-Identifier: Apache-2.0
// Goal: a TestCluster is a node of its own that a program starts, joins, kills; it ends with the program.
// Method: clusters in this program, and one in a program that is killed.

import { get, init, type NodeInfo, nodes, remote, shutdown, TestCluster } from "polyray";
import t from "tap";
import { isAlive, rejection, run, scratchFolder, thrown, until, within } from "../mixed/support.ts";

process.env.POLYRAY_TMPDIR = scratchFolder();
const size = { objectStoreMemory: "64MiB" } as const;

t.test("one node: started, joined, ended in order", async (t) => {
  const cluster = await TestCluster.start({
    nodes: [{ ...size, numCpus: 3, resources: { bob: 2 }, labels: { zone: "a" } }],
  });
  t.teardown(() => cluster.shutdown());
  const [node] = cluster.nodes;
  t.match(node, { isHead: true, address: cluster.address });
  t.ok(isAlive(Number(node?.pid)));
  await init({ address: cluster.address, logToDriver: false });
  const [seen] = (await nodes()) as [NodeInfo];
  t.match(seen, { nodeId: node?.nodeId, resources: { CPU: 3, bob: 2 }, labels: { zone: "a" } });
  const double = remote((x: number) => 2 * x, { resources: { bob: 1 } });
  t.equal(await within(get(double.remote(21)), "a task on the cluster"), 42);
  const error = await rejection(cluster.addNode({ numCpus: 1 }));
  t.equal(error.code, "UNSUPPORTED");
  t.match(error.message, /one node for now: many nodes are not built yet/);
  await shutdown();
  await cluster.shutdown();
  t.notOk(isAlive(Number(node?.pid)));
  t.match(thrown(() => cluster.address).message, /no node any more/);
});

t.test("a killed node is gone with its workers; a new one can start", async (t) => {
  await using cluster = await TestCluster.start({ nodes: [{ ...size, numCpus: 1 }] });
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error("no node");
  await init({ address: cluster.address, logToDriver: false });
  const pid = await within(get(remote(() => process.pid).remote()), "a task");
  await cluster.kill(node, "SIGKILL");
  t.notOk(isAlive(node.pid));
  await until(() => !isAlive(pid), "its worker is gone");
  t.same(cluster.nodes, []);
  t.match((await rejection(cluster.kill(node))).message, /no such node/);
  await shutdown();
  const next = await cluster.addNode({ ...size, numCpus: 1 });
  t.not(next.nodeId, node.nodeId);
});

t.test("who waits is told at once when the node is killed, also right after a call", async (t) => {
  for (const pauseMs of [0, 300]) {
    await using cluster = await TestCluster.start({ nodes: [{ ...size, numCpus: 1 }] });
    const [node] = cluster.nodes;
    if (node === undefined) throw new Error("no node");
    await init({ address: cluster.address, logToDriver: false });
    await within(get(remote(() => 1).remote()), "a task");
    const waits = rejection(get(remote(() => new Promise<void>(() => undefined)).remote()));
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await cluster.kill(node, "SIGKILL");
    t.equal((await within(waits, "the end of the wait")).code, "LOCAL_RAYLET_DIED");
    await shutdown();
  }
});

t.test("wrong nodes are refused", async (t) => {
  for (const [options, words] of [
    [{ nodes: [] }, /a list of nodes/],
    [{ nodes: [{ numCpu: 1 }] }, /numCpu/],
    [{ nodes: [{ numCpus: -1 }] }, /numCpus/],
    [{ nodes: [size, size] }, /one node for now/],
  ] as const) {
    const error = await rejection(TestCluster.start(options as never));
    t.match(error.message, words);
  }
});

t.test("the cluster ends with the program that started it, however that ends", async (t) => {
  const program =
    'import { TestCluster } from "polyray";\n' +
    'const c = await TestCluster.start({ nodes: [{ objectStoreMemory: "64MiB" }] });\n' +
    "console.log(c.nodes[0].pid); process.kill(process.pid, 'SIGKILL');";
  const ended = await run(process.execPath, ["--input-type=module", "-e", program]);
  t.equal(ended.signal, "SIGKILL", ended.err);
  const pid = Number(ended.out);
  t.ok(pid > 0);
  await until(() => !isAlive(pid), "the node ends");
});
