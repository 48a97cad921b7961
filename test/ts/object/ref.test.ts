// SPDX-License-Identifier: Apache-2.0
// Goal: a ref is a plain, never thenable thing with one count, whatever is done to it.
// Method: refs over a home that records what it is asked.

import { inspect } from "node:util";
import t from "tap";
import { setCurrentStore } from "../../../ts/object/context.ts";
import { ObjectRef, type RefHome, refScope } from "../../../ts/object/ref.ts";

class RecordingHome implements RefHome {
  readonly dropped: number[] = [];
  readonly collected = new FinalizationRegistry<number>((handle) => this.dropRef(handle));
  dropRef(handle: number): void {
    this.dropped.push(handle);
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
