// SPDX-License-Identifier: Apache-2.0
// Goal: values go in and come out, big ones without a copy, and their memory comes back.
// Method: a real node and a store in this process; the store's own counters and the kernel's list of mappings are the witnesses.

import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { loadNative } from "../../../ts/native/load.ts";
import { type ObjectRef, refScope } from "../../../ts/object/ref.ts";
import type { ObjectStore } from "../../../ts/object/store.ts";
import { openStore, startNode, until } from "../native/harness.ts";

const node = startNode();
t.teardown(() => node.stop());
const native = loadNative();

async function withStore(body: (store: ObjectStore) => Promise<void> | void): Promise<void> {
  const store = openStore(node);
  try {
    await body(store);
  } finally {
    store.close();
  }
}

/** The line of /proc/self/maps that an address lies in. */
function mappingOf(address: number): string {
  for (const line of readFileSync("/proc/self/maps", "utf8").split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (match === null) continue;
    if (
      Number.parseInt(match[1] as string, 16) <= address &&
      address < Number.parseInt(match[2] as string, 16)
    )
      return line;
  }
  return "";
}

const used = () => native.rayletStats().storeUsedBytes;
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

t.test("plain values come back equal, from every size class", (t) =>
  withStore(async (store) => {
    for (const value of [
      1,
      "x",
      null,
      { a: [1, 2n, new Map([[1, "b"]])] },
      "y".repeat(100),
      "z".repeat(5000),
      "w".repeat(300_000),
    ]) {
      t.same(await store.get(store.put(value)), value);
      t.same(store.getSync(store.put(value)), value);
    }
  }),
);

t.test("100 MB are read in place, and twice the same buffer", (t) =>
  withStore(async (store) => {
    const numbers = new Float64Array(12_500_000);
    numbers[12_499_999] = 42;
    const ref = store.put(numbers);
    const first = (await store.get(ref)) as Float64Array;
    t.equal(first.length, numbers.length);
    t.equal(first[12_499_999], 42);
    const address = native.addressOf(new Uint8Array(first.buffer, first.byteOffset, 1));
    t.match(mappingOf(address), /memfd/, "the bytes lie in the shared segment");
    const second = (await store.get(ref)) as Float64Array;
    t.equal(second.buffer, first.buffer);
    t.equal(native.counters().liveViews, 1);
  }),
);

t.test("a write into a shared array stays in this reader", (t) =>
  withStore(async (store) => {
    const ref = store.put(new Uint8Array(200_000).fill(7));
    const first = (await store.get(ref)) as Uint8Array;
    first[0] = 99;
    first[100_000] = 99;
    t.equal(store.release(first), true);
    t.equal(first.length, 0, "release detaches");
    const second = (await store.get(ref)) as Uint8Array;
    t.equal(second[0], 7);
    t.equal(second[100_000], 7);
    t.equal(store.release(first), false, "a second release finds nothing");
  }),
);

t.test("dropped refs give the memory back; a live view keeps its bytes", (t) =>
  withStore(async (store) => {
    const before = used();
    const ref = store.put(new Uint8Array(10_000_000).fill(3));
    t.ok(used() >= before + 10_000_000);
    const view = (await store.get(ref)) as Uint8Array;
    ref[Symbol.dispose]();
    store.put(0)[Symbol.dispose](); // the raylet drains at some bell
    const other = store.put(new Uint8Array(10_000_000).fill(5));
    t.equal(view[9_999_999], 3, "pinned bytes are not given away");
    t.equal(store.release(view), true);
    other[Symbol.dispose]();
    await until(() => {
      store.put(new Uint8Array(300_000))[Symbol.dispose]();
      return used() <= before + 1_000_000;
    });
  }),
);

t.test("the collector ends refs and views that nobody holds", () =>
  withStore(async (store) => {
    await (async () => {
      for (let i = 0; i < 20; i++) await store.get(store.put(new Uint8Array(1_000_000)));
    })();
    await until(() => {
      collect();
      return native.counters().liveViews === 0 && native.counters().liveHandles === 0;
    });
  }),
);

t.test("100,000 gets leave no handle, view or growth behind", (t) =>
  withStore(async (store) => {
    const small = store.put({ n: 1 });
    const big = store.put(new Uint8Array(100_000));
    const rounds = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await store.get(small);
        if (i % 10 === 0) store.release((await store.get(big)) as Uint8Array);
      }
      collect();
    };
    await rounds(20_000);
    const before = process.memoryUsage().rss;
    await rounds(100_000);
    t.equal(native.counters().liveHandles, 2);
    await until(() => {
      collect();
      return native.counters().liveViews === 0;
    });
    t.ok(process.memoryUsage().rss - before < 60_000_000, "resident memory stays level");
  }),
);

t.test("refs inside values keep their objects alive", (t) =>
  withStore(async (store) => {
    const inner = store.put("inside");
    const id = inner.id;
    const outer = store.put({ list: [inner] });
    inner[Symbol.dispose]();
    const value = (await store.get(outer)) as { list: [ObjectRef<string>] };
    t.equal(value.list[0].id, id);
    t.equal(await value.list[0].toPromise(), "inside");
  }),
);

t.test("waiting: timeouts, signals, order of the split", (t) =>
  withStore(async (store) => {
    const pending = store.refOf(native.createActorObject());
    await t.rejects(store.get(pending, { timeoutMs: 20 }), {
      code: "GET_TIMEOUT",
      name: "TimeoutError",
    });
    await t.rejects(store.getAll([store.put(1), pending], { timeoutMs: 0 }), {
      code: "GET_TIMEOUT",
      name: "TimeoutError",
    });
    const abort = new AbortController();
    const waiting = store.get(pending, { signal: abort.signal });
    abort.abort(new Error("enough"));
    await t.rejects(waiting, { message: "enough" });
    t.throws(() => store.getSync(pending, 10), { code: "GET_TIMEOUT", name: "TimeoutError" });
    const a = store.put("a");
    const b = store.put("b");
    t.same(await store.wait([b, pending, a], 1), { ready: [b], notReady: [pending, a] });
    t.same(await store.wait([b, pending, a], 3, { timeoutMs: 10 }), {
      ready: [b, a],
      notReady: [pending],
    });
    t.same(await store.getAll([a, b, a]), ["a", "b", "a"]);
    const last = store.get(pending);
    pending[Symbol.dispose]();
    await t.rejects(last, { code: "OBJECT_FREED" }, "a get whose ref was released");
    t.equal(store.pending.size, 0);
  }),
);

t.test("refScope drops what was made in it and not kept", (t) =>
  withStore(async (store) => {
    let lost: ObjectRef<unknown> | null = null;
    const kept = await refScope(async () => {
      lost = store.put("lost");
      await store.get(lost);
      return store.put("kept");
    });
    t.equal(await store.get(kept), "kept");
    await t.rejects(store.get(lost as unknown as ObjectRef<unknown>), { code: "OBJECT_FREED" });
  }),
);

t.test("a view outlives the store as private memory", async (t) => {
  const store = openStore(node);
  const view = (await store.get(store.put(new Uint8Array(500_000).fill(9)))) as Uint8Array;
  store.close();
  await withStore((other) => {
    for (let i = 0; i < 20; i++) other.put(new Uint8Array(500_000).fill(1));
  });
  t.equal(view[499_999], 9);
  t.equal(view[0], view[250_000]);
});
