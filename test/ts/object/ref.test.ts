// SPDX-License-Identifier: Apache-2.0
// Goal: a ref is a plain, never thenable thing with one count, whatever is done to it.
// Method: refs over a home that records what it is asked.

import { inspect } from "node:util";
import t from "tap";
import { setCurrentStore } from "../../../ts/object/context.ts";
import { LazyRefs, ObjectRef, type RefHome, refScope } from "../../../ts/object/ref.ts";

class RecordingHome implements RefHome {
  readonly dropped: number[] = [];
  readonly collected = new FinalizationRegistry<{ readonly handle: number }>(({ handle }) =>
    this.dropRef(handle),
  );
  dropRef(handle: number): void {
    this.dropped.push(handle);
  }
  readonly acquired: number[] = [];
  acquire(bytes: Uint8Array, offset: number): number {
    const handle = bytes[offset] as number;
    this.acquired.push(handle);
    return handle;
  }
  idOf(handle: number): string {
    return handle.toString(16).padStart(32, "0");
  }
  get(ref: ObjectRef<unknown>): Promise<unknown> {
    return Promise.resolve(`value of ${ObjectRef.handleOf(ref)}`);
  }
}

t.test("a ref is not thenable: await gives the ref itself", async (t) => {
  const ref = new ObjectRef(new RecordingHome(), 1);
  t.equal(await (ref as unknown), ref);
  t.equal("then" in ref, false);
  t.equal(await ref.toPromise(), "value of 1");
});

t.test("dispose gives the count back once; the id stays readable", async (t) => {
  const home = new RecordingHome();
  const ref = new ObjectRef(home, 5);
  ref[Symbol.dispose]();
  ref[Symbol.dispose]();
  t.same(home.dropped, [5]);
  t.equal(ref.id, "5".padStart(32, "0"));
  t.throws(() => ObjectRef.handleOf(ref), { code: "OBJECT_FREED" });
  t.match(inspect(ref), /released/);
});

t.test("scopes drop all but what is kept, also after a throw", async (t) => {
  const home = new RecordingHome();
  const result = refScope((scope) => {
    new ObjectRef(home, 1);
    scope.keep(new ObjectRef(home, 2));
    return new ObjectRef(home, 3);
  });
  t.equal(ObjectRef.handleOf(result), 3);
  t.same(home.dropped, [1]);
  t.throws(() =>
    refScope(() => {
      new ObjectRef(home, 4);
      throw new Error("no");
    }),
  );
  await t.rejects(
    refScope(async () => {
      await null;
      new ObjectRef(home, 6);
      throw new Error("no");
    }),
  );
  t.same(home.dropped, [1, 4, 6]);
  const explicit = refScope();
  explicit.add(new ObjectRef(home, 7));
  explicit[Symbol.dispose]();
  t.same(home.dropped, [1, 4, 6, 7]);
});

t.test("fromId needs a runtime", async (t) => {
  setCurrentStore(null);
  t.throws(() => ObjectRef.fromId("0".repeat(32)), { code: "NOT_INITIALIZED" });
});

t.test("refs of one container take a handle at the first use only", (t) => {
  const home = new RecordingHome();
  const ids = new Uint8Array(48);
  ids.set([7], 0);
  ids.set([9], 16); // the third object, 0, is gone
  const container = new LazyRefs(home, 3, ids);
  const [first, second, gone] = [0, 1, 2].map((index) => container.ref(index));
  if (first === undefined || second === undefined || gone === undefined) throw new Error("no refs");
  t.equal(first.id, `07${"0".repeat(30)}`);
  t.equal(ObjectRef.isOf(first, home), true);
  t.same(home.acquired, []);
  t.equal(ObjectRef.handleOf(first), 7);
  t.equal(ObjectRef.handleOf(first), 7);
  t.same(home.acquired, [7]);
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  t.same(home.dropped, [7], "a ref that never had a handle gives none back");
  t.equal(second.id, `09${"0".repeat(30)}`);
  t.throws(() => ObjectRef.handleOf(second), { code: "OBJECT_FREED" });
  t.throws(() => ObjectRef.handleOf(gone), { code: "OBJECT_FREED" });
  t.equal(gone.id, "0".repeat(32));
  t.end();
});
