// SPDX-License-Identifier: Apache-2.0
// Goal: calls cross between processes by the binding alone, in order, with errors, big values and a
// main thread that blocks.
// Method: an actor played by fixtures/callee.ts in another process; this process says itself where
// the actor is.

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import t from "tap";
import { ActorPhase, ObjectStatus } from "../../../ts/native/binding.ts";
import { loadNative } from "../../../ts/native/load.ts";
import type { ObjectStore } from "../../../ts/object/store.ts";
import { forkFixture, messageOf, openStore, startNode } from "./harness.ts";

const native = loadNative();
const node = startNode();
const store: ObjectStore = openStore(node);
const actor = native.createActorObject();
const child: ChildProcess = forkFixture("callee.ts", [
  node.socketName,
  node.token,
  native.idOf(actor),
]);
const peer = await messageOf<{ endpoint: number; serial: number }>(child);
native.setActorState(actor, ActorPhase.alive, peer.endpoint, peer.serial, 1, 0, null);

t.teardown(async () => {
  const ended = once(child, "exit");
  child.disconnect();
  await ended;
  store.close();
  node.stop();
});

function call(method: string, args: Uint8Array): number {
  store.flushSoon();
  return native.submitActorCall(actor, method, args, args.length, null, 0, 1, 0, -2, 0) as number;
}

/** The settled bytes of a return. */
function settled(handle: number): Promise<{ status: number; bytes: Uint8Array }> {
  return new Promise((resolve) => {
    const finish = (status: number) =>
      resolve({ status, bytes: native.read(handle, false) as Uint8Array });
    const status = native.subscribe(handle, true);
    if (status !== ObjectStatus.pending) finish(status);
    else {
      store.addWaiter(handle, { settle: (_handle, then) => finish(then) });
      store.awaited();
    }
  });
}

t.test("bytes go and come back, in every size class", async (t) => {
  for (const size of [0, 1, 56, 57, 8_000, 9_000, 40_000, 300_000]) {
    const args = new Uint8Array(size).fill(size & 255);
    const { status, bytes } = await settled(call("echo", args));
    t.equal(status, ObjectStatus.sealed);
    t.equal(Buffer.compare(bytes, args), 0, `${size} bytes`);
  }
});

t.test("args that were put are given by their handle", async (t) => {
  const args = new Uint8Array(200_000).fill(9);
  const stored = native.putParts(args.length, [args], Float64Array.of(0), null, 0, 1000);
  store.flushSoon();
  const back = native.submitActorCall(actor, "echo", stored, 0, null, 0, 1, 0, -2, 0) as number;
  native.releaseHandle(stored); // the call has its own
  const { status, bytes } = await settled(back);
  t.equal(status, ObjectStatus.sealed);
  t.equal(Buffer.compare(bytes, args), 0);
  t.throws(() => native.submitActorCall(actor, "echo", stored, 0, null, 0, 1, 0, -2, 0), {
    code: "OBJECT_FREED",
  });
});

t.test("an error reply is an error object", async (t) => {
  const { status, bytes } = await settled(call("fail", new Uint8Array([4, 2])));
  t.equal(status, ObjectStatus.error);
  t.same([...bytes], [4, 2]);
});

t.test("a burst is answered in order and rings few bells", async (t) => {
  const before = native.counters();
  const order: number[] = [];
  const early: number[] = [];
  const count = 5000;
  await new Promise<void>((resolve) => {
    for (let i = 0; i < count; i++) {
      const handle = call("echo", Uint8Array.of(i & 255, i >> 8));
      if (native.subscribe(handle, true) !== ObjectStatus.pending) {
        early.push(i); // the worker looks at its rings without a bell
        native.releaseHandle(handle);
        continue;
      }
      store.addWaiter(handle, {
        settle: () => {
          const bytes = native.read(handle, false) as Uint8Array;
          order.push((bytes[0] as number) | ((bytes[1] as number) << 8));
          native.releaseHandle(handle);
          if (order.length + early.length === count) resolve();
        },
      });
    }
  });
  t.same(
    order,
    Array.from({ length: count }, (_, i) => i).filter((i) => !early.includes(i)),
  );
  const after = native.counters();
  t.equal(after.callsSubmitted - before.callsSubmitted, count);
  t.ok(after.bellsRung - before.bellsRung < count / 10, "bells are batched");
  t.ok(after.eventBatches - before.eventBatches < count / 10, "callbacks are batched");
});

t.test(
  "the thread can block for an answer, and events that came meanwhile are not lost",
  async (t) => {
    const slow = call("block", Uint8Array.of(30));
    const asynchronous = settled(call("echo", Uint8Array.of(1)));
    const last = call("echo", Uint8Array.of(9));
    native.flush();
    t.equal(native.waitSync(Uint32Array.of(slow, last, last), 2, -1), 2);
    t.same([...(native.read(last, false) as Uint8Array)], [9]);
    t.same([...(await asynchronous).bytes], [1]);
  },
);

t.test("a wait without an answer ends at its time", async (t) => {
  const handle = call("late", new Uint8Array(0));
  t.equal(native.waitSync(Uint32Array.of(handle), 1, 20), 0);
  t.equal(native.status(handle), ObjectStatus.pending);
  const answer = settled(handle);
  child.send("answer");
  t.same([...(await answer).bytes], [1]);
});

t.test("a big result is written into the store and read in place", async (t) => {
  const args = new Uint8Array(4);
  new DataView(args.buffer).setUint32(0, 20_000_000, true);
  const { bytes } = await settled(call("big", args));
  t.equal(bytes.length, 20_000_000);
  t.equal(bytes[19_999_999], 7);
  // Views of earlier tests live until their buffers are collected.
  t.ok(native.counters().liveViews >= 1, "it is read in place");
});

t.test("big arguments are read in place and outlive their call", async (t) => {
  const args = new Uint8Array(400_000).fill(6);
  await settled(call("keep", args));
  for (let i = 0; i < 10; i++) await settled(call("echo", new Uint8Array(400_000).fill(1)));
  t.same(new Set((await settled(call("kept", new Uint8Array(0)))).bytes), new Set([6]));
});

t.test("where a call is can be asked while it runs", async (t) => {
  const handle = call("late", new Uint8Array(0));
  native.flush();
  t.equal(native.callPeer(handle), peer.endpoint);
  t.equal(store.info.out[0], peer.serial);
  const answer = settled(handle);
  child.send("answer");
  await answer;
  t.equal(native.callPeer(handle), 0);
});
