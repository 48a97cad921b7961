// SPDX-License-Identifier: Apache-2.0
// Goal: every environment has an endpoint of its own, works while others block, and ends without a
// trace.
// Method: worker_threads that load the addon and share objects with the main thread by id.

import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import t from "tap";
import { loadNative } from "../../../ts/native/load.ts";
import { openStore, startNode, until } from "./harness.ts";

const node = startNode();
const native = loadNative();
const store = openStore(node);
t.teardown(() => {
  store.close();
  node.stop();
});

function thread(data: Record<string, unknown>): Worker {
  native.setRuntimeNote(
    JSON.stringify({ socketName: node.socketName, token: node.token, job: store.info.job }),
  );
  return new Worker(fileURLToPath(new URL("./fixtures/thread.mjs", import.meta.url)), {
    workerData: data,
  });
}

const endpoints = () => native.rayletStats().endpoints;

t.test("threads find the runtime, are endpoints of their own and of the same job", async (t) => {
  const before = endpoints();
  const threads = [1, 2, 3].map((n) => thread({ mode: "put", n }));
  const answers = await Promise.all(
    threads.map(
      async (worker) =>
        (await once(worker, "message"))[0] as { endpoint: number; job: number; id: string },
    ),
  );
  t.equal(new Set([store.info.endpoint, ...answers.map((answer) => answer.endpoint)]).size, 4);
  for (const answer of answers) t.equal(answer.job, store.info.job);
  t.equal(endpoints(), before + 3);
  const values = await store.getAll(answers.map((answer) => store.refOfId(answer.id)));
  t.same(values, [{ n: 1 }, { n: 2 }, { n: 3 }]);
  await Promise.all(threads.map((worker) => worker.terminate()));
  await until(() => endpoints() === before);
});

t.test("a thread gets on while the main thread blocks in a wait", async (t) => {
  const id = store.put("for the thread").id;
  const worker = thread({ mode: "read", id });
  const [{ answer }] = (await once(worker, "message")) as [{ answer: number }];
  const flag = new Int32Array(new SharedArrayBuffer(4));
  worker.postMessage(flag.buffer);
  // The event loop of this thread stands still; the thread reads, puts, and tells by the flag.
  Atomics.wait(flag, 0, 0, 20_000);
  t.equal(Atomics.load(flag, 0), 1);
  t.equal(answer, 0);
  await worker.terminate();
});

t.test("threads that end in the middle of everything leave the others working", async (t) => {
  for (let i = 0; i < 5; i++) {
    const worker = thread({ mode: "churn" });
    await once(worker, "message");
    await worker.terminate();
  }
  t.equal(await store.get(store.put("still here")), "still here");
});
