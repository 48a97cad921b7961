// SPDX-License-Identifier: Apache-2.0
// Goal: three times the store goes in and comes back, as puts, arguments and results; memory and files come back with the
// refs; free() takes values away; objectInfo, storeStats and nodes tell it.
// Method: one embedded runtime of 64 MiB with two spill folders; files are counted on disk.

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  free,
  get,
  getSync,
  init,
  nodes,
  type ObjectRef,
  objectInfo,
  put,
  putAsync,
  refScope,
  release,
  remote,
  shutdown,
  storeStats,
} from "polyray";
import t from "tap";
import { driver, rejection, startRuntime, until } from "./harness.ts";

const MiB = 1024 * 1024;
const size = 8 * MiB;
const count = 24;
const root = mkdtempSync(join(tmpdir(), "polyray-spill-"));
const folders = [join(root, "a"), join(root, "b")];
t.teardown(() => rmSync(root, { recursive: true, force: true }));

await startRuntime({ objectStoreMemory: 64 * MiB, objectSpillingDirectory: folders });

const files = (): number =>
  folders.reduce(
    (sum, folder) =>
      sum + readdirSync(folder).reduce((n, name) => n + readdirSync(join(folder, name)).length, 0),
    0,
  );
const filled = (number: number): Uint8Array => new Uint8Array(size).fill(number);

const summed = remote((bytes: Uint8Array) => (bytes[0] as number) + (bytes.at(-1) as number));
const made = remote((number: number, bytes: number) => new Uint8Array(bytes).fill(number));

t.test("puts of three times the store come back, and their files go with them", async (t) => {
  const refs = Array.from({ length: count }, (_, i) => put(filled(i)));
  t.ok(files() > 10);
  const stats = await storeStats();
  t.ok(stats.spilledBytes > 100 * MiB && stats.spilledObjects > 10);
  t.ok(stats.usedBytes <= 64 * MiB);
  const [node] = await nodes();
  t.equal(node?.objectStore.spilledBytes, stats.spilledBytes);
  const first = await objectInfo(refs[0] as ObjectRef<Uint8Array>);
  t.ok(first.spilled);
  t.ok(first.sizeBytes > size);
  t.equal(first.state, "ready");
  for (const [i, ref] of refs.entries()) {
    const value = await get(ref);
    t.ok(value.length === size && value[0] === i && value.at(-1) === i, `value ${i}`);
    if (i % 2 === 0) t.ok(release(value)); // the others are found by a collection when memory is short
  }
  t.same(
    (await get(refs)).map((value) => value[5]),
    refs.map((_, i) => i),
    "all at once",
  );
  t.equal(getSync(refs[3] as ObjectRef<Uint8Array>)[1], 3);
  t.same(
    await get(refs.map((ref) => summed.remote(ref))),
    refs.map((_, i) => 2 * i),
    "as arguments",
  );
  const kept = await get(refs[1] as ObjectRef<Uint8Array>);
  kept[0] = 99;
  t.equal(
    (await get(summed.remote(refs[1] as ObjectRef<Uint8Array>))) as number,
    2,
    "a write stays here",
  );
  for (const ref of refs) ref[Symbol.dispose]();
  await until(() => files() === 0);
  t.equal(kept[7], 1, "a view outlives its ref and its file");
  t.ok((await storeStats()).restoredTotalBytes > 100 * MiB);
});

t.test("results and arguments of three times the store", async (t) => {
  const refs = Array.from({ length: count }, (_, i) => made.remote(i, size));
  for (const [i, ref] of refs.entries()) {
    const value = await get(ref);
    t.ok(value[0] === i && value.at(-1) === i);
    release(value);
  }
  const sums: ObjectRef<number>[] = [];
  for (let i = 0; i < count; i++) sums.push(summed.remote(filled(i)));
  t.same(
    await get(sums),
    sums.map((_, i) => 2 * i),
  );
  t.same(
    await get(refs.map((ref) => summed.remote(ref))),
    refs.map((_, i) => 2 * i),
  );
  for (const ref of [...refs, ...sums]) ref[Symbol.dispose]();
  await until(() => files() === 0);
});

t.test("containers keep what they hold, on disk too, and a scope gives it back", async (t) => {
  class Keeper {
    held: ObjectRef<Uint8Array>[] = [];
    keep(held: ObjectRef<Uint8Array>[]): number {
      this.held = held;
      return held.length;
    }
    async read(index: number): Promise<number> {
      const value = await get(this.held[index] as ObjectRef<Uint8Array>);
      const third = value[3] as number;
      release(value);
      return third;
    }
    drop(): void {
      for (const ref of this.held) ref[Symbol.dispose]();
      this.held = [];
    }
  }
  const keeper = remote(Keeper).remote();
  await refScope(async (scope) => {
    const box = put(Array.from({ length: count }, (_, i) => put(filled(i))));
    const inner = await get(box);
    for (const [i, ref] of inner.entries()) {
      const value = await get(ref);
      t.equal(value[2], i);
      release(value);
    }
    t.equal(await get(keeper.keep.remote(inner)), count);
    scope[Symbol.dispose](); // everything of ours
    t.equal(await get(keeper.read.remote(0)), 0);
    t.equal(await get(keeper.read.remote(count - 1)), count - 1);
    await get(keeper.drop.remote());
  });
  await until(() => files() === 0);
});

t.test("putAsync waits for room without blocking", async (t) => {
  const refs = await Promise.all(Array.from({ length: 16 }, (_, i) => putAsync(filled(i))));
  for (const [i, ref] of refs.entries()) {
    const value = await get(ref);
    t.equal(value[4], i);
    release(value);
  }
  for (const ref of refs) ref[Symbol.dispose]();
  await until(() => files() === 0);
});

t.test("free takes values away from everybody", async (t) => {
  const ref = put(filled(1));
  const same = (await get(put([ref])))[0] as ObjectRef<Uint8Array>;
  const view = await get(ref);
  await free([ref, put("small")]);
  for (const gone of [ref, same]) t.equal((await rejection(get(gone))).name, "ObjectFreedError");
  t.equal((await objectInfo(same)).state, "freed");
  t.equal(view[0], 1, "what was read before stays");
  t.ok(release(view));
  const spilled = Array.from({ length: count }, (_, i) => put(filled(i)));
  await free(spilled);
  await until(() => files() === 0);
  t.match((await rejection(free([1 as never]))).message, /element 0/);
});

t.test("a wrong folder is told at once; nothing is left after the end of a runtime", async (t) => {
  await shutdown();
  for (const folder of folders) t.same(readdirSync(folder), []);
  const file = join(root, "file");
  (await import("node:fs")).writeFileSync(file, "");
  const error = await rejection(init({ objectSpillingDirectory: join(file, "below") }));
  t.equal(error.name, "InvalidOptionError");
  t.match(error.message, /objectSpillingDirectory/);
  t.equal(
    (await rejection(init({ objectSpillingDirectory: 3 as never }))).name,
    "InvalidOptionError",
  );
  const killed = join(root, "killed");
  const ended = await driver("killed", "spill", killed);
  t.equal(ended.signal, "SIGKILL");
  t.ok(existsSync(killed));
  await until(() => readdirSync(killed).length === 0);
});

t.test("what a process has read and dropped is no reason to find no room", async (t) => {
  // A small store: with a bigger one V8 collects on its own.
  const size = 2 * MiB;
  await startRuntime({ objectStoreMemory: 16 * MiB });
  // One process, so that what it stores next waits in its own thread while its own views fill the store.
  class Reader {
    sums(held: ObjectRef<Uint8Array>[]): Promise<number[]> {
      return Promise.all(held.map(async (ref) => (await get(ref))[1] as number));
    }
    make(number: number, bytes: number): Uint8Array {
      return new Uint8Array(bytes).fill(number);
    }
  }
  const reader = remote(Reader).remote();
  const filling = (): ObjectRef<Uint8Array>[] =>
    Array.from({ length: 7 }, (_, i) => put(new Uint8Array(size).fill(i)));
  const given = filling();
  t.same(await get(reader.sums.remote(given)), [0, 1, 2, 3, 4, 5, 6]);
  for (const ref of given) ref[Symbol.dispose]();
  const made = await get([reader.make.remote(9, size), reader.make.remote(8, 100_000)]);
  t.same(
    made.map((value) => value[3]),
    [9, 8],
    "results, big and small",
  );
  for (const value of made) release(value);

  const own = filling();
  t.same(
    (await get(own)).map((value) => value[1]),
    [0, 1, 2, 3, 4, 5, 6],
  );
  for (const ref of own) ref[Symbol.dispose]();
  await new Promise((resolve) => setImmediate(resolve));
  using ref = put(new Uint8Array(size).fill(7));
  t.equal((await get(ref))[1], 7, "a put");
});
