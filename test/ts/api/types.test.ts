// SPDX-License-Identifier: Apache-2.0
// Goal: the types of the API are exact, and wrong programs do not compile.
// Method: tsc checks this file with the others (npm run tidy): each `Equal` must hold and each @ts-expect-error must be an
// error. Nothing of `check` runs; the test at the end only says that the file loads.

import {
  type ActorHandle,
  get,
  type ObjectRef,
  type ObjectRefStream,
  put,
  pyActor,
  pyFunction,
  type RemoteFunction,
  remote,
  wait,
} from "polyray";
import t from "tap";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<_T extends true>(): void {}

class Progress {
  done = 0;
  get total(): number {
    return 1;
  }
  report(id: number, share: number): void {
    this.done += id * share;
  }
  async read(): Promise<number> {
    return this.done;
  }
  *steps(): Generator<string, void, undefined> {
    yield "a";
  }
}

interface Model {
  predict(rows: Float64Array): number[];
}

export async function check(): Promise<void> {
  const square = remote((x: number) => x * x);
  same<Equal<typeof square, RemoteFunction<[x: number], number>>>();
  const ref = square.remote(2);
  same<Equal<typeof ref, ObjectRef<number>>>();
  square.remote(ref);
  // @ts-expect-error a string is no number
  square.remote("2");
  // @ts-expect-error a ref of a string is no number either
  square.remote(put("2"));
  // @ts-expect-error one argument is missing
  square.remote();
  const value = await get(ref);
  same<Equal<typeof value, number>>();
  const pair = await get([ref, put("x")]);
  same<Equal<typeof pair, [number, string]>>();
  const record = await get({ a: ref, b: put(true) });
  same<Equal<typeof record, { a: number; b: boolean }>>();
  const list = await get([1, 2].map((x) => square.remote(x)));
  same<Equal<typeof list, number[]>>();
  const later = remote(async (x: number) => `${x}`).remote(1);
  same<Equal<typeof later, ObjectRef<string>>>();
  const stream = remote(async function* (n: number) {
    yield n;
  }).remote(1);
  same<Equal<typeof stream, ObjectRefStream<number>>>();
  const split = remote((): [number, string] => [1, "a"], { numReturns: 2 }).remote();
  same<Equal<typeof split, [ObjectRef<number>, ObjectRef<string>]>>();
  const { ready } = await wait([ref]);
  same<Equal<typeof ready, ObjectRef<number>[]>>();
  const RemoteProgress = remote(Progress);
  const progress = RemoteProgress.remote();
  same<Equal<typeof progress, ActorHandle<Progress>>>();
  const read = progress.read.remote();
  same<Equal<typeof read, ObjectRef<number>>>();
  progress.report.remote(1, put(0.5));
  // @ts-expect-error fields are not remote
  progress.done;
  // @ts-expect-error getters are not remote
  progress.total;
  // @ts-expect-error the second argument is missing
  progress.report.remote(1);
  const steps = progress.steps.remote();
  same<Equal<typeof steps, ObjectRefStream<string>>>();
  // @ts-expect-error no such option
  square.options({ numCpu: 1 });
  const mean = pyFunction<[Float64Array], number>("pkg.mod", "mean").remote(new Float64Array(1));
  same<Equal<typeof mean, ObjectRef<number>>>();
  const model = pyActor<Model, [string]>("pkg.model", "Model").remote("path");
  const predicted = model.predict.remote(new Float64Array(1));
  same<Equal<typeof predicted, ObjectRef<number[]>>>();
  // @ts-expect-error a ref is not thenable: it has no such member
  ref.then(() => undefined);
  const awaited = await ref;
  same<Equal<typeof awaited, ObjectRef<number>>>();
}

t.type(check, "function");
