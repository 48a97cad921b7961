// SPDX-License-Identifier: Apache-2.0
// Goal: values cross from TypeScript to Python and back by the table of docs/values.md; what TypeScript cannot read passes
// through it untouched; refs and handles cross inside containers, both ways.
// Method: Python tasks and actors of an embedded runtime, which check what they got themselves.

import {
  type ActorHandle,
  get,
  kwargs,
  NdArray,
  ObjectRef,
  put,
  pyActor,
  pyFunction,
  remote,
} from "polyray";
import t from "tap";
import { startRuntime, within } from "./support.ts";

await startRuntime();

interface PyCounter {
  add(n?: unknown, options?: unknown): number;
  value(): number;
  pair(): [number, number];
}

const echo = pyFunction("mixed_side", "echo");

t.test("each kind of TypeScript value arrives in Python as the table says", async (t) => {
  const values = {
    nothing: null,
    missing: undefined,
    flag: true,
    whole: 7,
    half: 0.5,
    minusZero: -0,
    nan: Number.NaN,
    infinity: Number.NEGATIVE_INFINITY,
    bigint: 2n ** 80n + 1n,
    small: -3n,
    text: "grüße 😀",
    bytes: new Uint8Array([0, 1, 255]),
    long: new Uint8Array(256 * 40).map((_, i) => i % 256),
    when: new Date("2026-01-02T03:04:05.678Z"),
    map: new Map<unknown, unknown>([
      [1, "one"],
      ["two", 2],
    ]),
    set: new Set<unknown>([1, "a"]),
    nested: [1, [2, { x: [3] }]],
    doubles: new Float64Array([1.5, -2]),
    matrix: new NdArray(new Float32Array([0, 1, 2, 3, 4, 5]), [2, 3], "<f4"),
  };
  const check = pyFunction<[object], string[]>("mixed_side", "check_values");
  t.same(await within(get(check.remote(values)), "check_values"), []);
  t.same(await within(get(check.remote(put(values))), "check_values of a ref"), []);
});

t.test("each kind of Python value arrives in TypeScript as the table says", async (t) => {
  const values = (await within(
    get(pyFunction("mixed_side", "make_values").remote()),
    "make_values",
  )) as Record<string, unknown>;
  t.equal(values.none, null);
  t.equal(values.flag, true);
  t.equal(values.whole, 7);
  t.equal(values.big, 2n ** 80n + 1n);
  t.equal(values.half, 0.5);
  t.ok(Number.isNaN(values.nan));
  t.equal(values.infinity, Number.POSITIVE_INFINITY);
  t.equal(values.text, "grüße 😀");
  t.same([...(values.raw as Uint8Array)], [0, 1, 255]);
  t.same(values.list, [1, [2, "three"]]);
  t.same(values.tuple, [1, 2]);
  t.same(values.dict, { a: { b: 1 } });
  const map = values.by_number as Map<unknown, unknown>;
  t.ok(map instanceof Map);
  t.equal(map.get(1), "one");
  t.ok(values.set instanceof Set);
  t.same([...(values.set as Set<number>)].sort(), [1, 2]);
  t.ok(values.when instanceof Date);
  t.equal((values.when as Date).toISOString(), "2026-01-02T03:04:05.678Z");
  const matrix = values.matrix as NdArray;
  t.ok(matrix instanceof NdArray);
  t.same(matrix.shape, [2, 3]);
  t.same([...(matrix.data as Float64Array)], [0, 1, 2, 3, 4, 5]);
  t.ok(values.bytes_array instanceof Int32Array || values.bytes_array instanceof NdArray);
});

t.test("values come back from Python as they went", async (t) => {
  const round = async (value: unknown): Promise<unknown> => within(get(echo.remote(value)), "echo");
  for (const value of [null, true, 0, -1, 2 ** 53 - 1, 1.25, "", "x\0y", [], {}, [[]], { a: [{}] }])
    t.same(await round(value), value);
  t.ok(Object.is(await round(-0), -0));
  t.ok(Number.isNaN(await round(Number.NaN)));
  t.equal(await round(10n ** 30n), 10n ** 30n);
  t.equal(await round(-(2n ** 63n) - 1n), -(2n ** 63n) - 1n);
  t.same(await round(new Map([[1, 2]])), new Map([[1, 2]]));
  t.same(await round(new Set(["a"])), new Set(["a"]));
  t.same(await round(new Date(5)), new Date(5));
  t.same(await round(new Uint8Array([1, 2])), new Uint8Array([1, 2]));
  t.same(await round(new Float64Array([1, Number.NaN])), new Float64Array([1, Number.NaN]));
  t.same(await round(new BigInt64Array([-5n, 5n])), new BigInt64Array([-5n, 5n]));
  t.same(await round(new Uint8Array(0)), new Uint8Array(0));
  const matrix = new NdArray(new Float64Array([1, 2, 3, 4]), [2, 2], "<f8");
  const back = (await round(matrix)) as NdArray;
  t.same(
    [back.shape, [...(back.data as Float64Array)]],
    [
      [2, 2],
      [1, 2, 3, 4],
    ],
  );
});

t.test("a Fraction passes through a TypeScript driver untouched", async (t) => {
  const fraction = pyFunction("mixed_side", "fraction");
  const add = pyFunction("mixed_side", "add_fractions");
  const text = pyFunction<[unknown], string>("mixed_side", "fraction_text");
  const third = await within(get(fraction.remote(1, 3)), "a fraction");
  t.notOk(typeof third === "number", "TypeScript holds it unread");
  const inBox = (await within(
    get(echo.remote({ parts: [third, third] })),
    "a box of fractions",
  )) as { parts: unknown[] };
  const sum = add.remote(third, fraction.remote(1, 6), ...inBox.parts);
  t.equal(await within(get(text.remote(sum)), "the sum"), "7/6");
  // Through a TypeScript worker, too: as an argument and as a result.
  const through = remote((value: unknown, box: { one: unknown }) => [value, box.one]);
  const both = (await within(
    get(through.remote(third, { one: third })),
    "through a worker",
  )) as unknown[];
  t.equal(await within(get(text.remote(add.remote(...both))), "after a worker"), "2/3");
});

t.test(
  "a paillier key and its ciphertexts pass through a TypeScript driver untouched",
  async (t) => {
    const [publicKey, privateKey] = (await within(
      get(pyFunction("mixed_side", "make_key").remote()),
      "a key",
    )) as unknown[];
    const encrypt = pyFunction<[unknown, number[]], unknown[]>("mixed_side", "encrypt");
    const batches = await within(
      get([encrypt.remote(publicKey, [1, 2.5]), encrypt.remote(put(publicKey), [3])]),
      "ciphertexts",
    );
    const ciphers = batches.flat();
    t.equal(ciphers.length, 3);
    t.equal(
      await within(
        get(pyFunction("mixed_side", "decrypt_sum").remote(privateKey, ciphers)),
        "the sum",
      ),
      6.5,
    );
  },
);

t.test("keyword arguments reach functions, constructors and methods", async (t) => {
  const f = pyFunction<unknown[], string>("mixed_side", "with_keywords");
  t.equal(
    await within(get(f.remote(1, 2, 3, kwargs({ scale: 4, label: "x" }))), "kwargs"),
    "1 [2, 3] 4 x",
  );
  t.equal(await within(get(f.remote(kwargs({ a: put(5) }))), "a ref by name"), "5 [] 1 none");
  const counter = pyActor<PyCounter>("mixed_side", "Counter").remote(
    10,
    kwargs({ step: 5 }) as never,
  );
  t.equal(await within(get(counter.add.remote(2, kwargs({ twice: true }))), "a method"), 30);
});

t.test("numReturns splits what Python returns", async (t) => {
  const three = pyFunction<[], [number, string, number[]]>("mixed_side", "three");
  const refs = three.options({ numReturns: 3 }).remote();
  t.same(await within(get(refs), "three refs"), [1, "two", [3]]);
  const counter = pyActor<PyCounter>("mixed_side", "Counter").remote(4);
  const pair = counter.pair.options({ numReturns: 2 }).remote();
  t.same(await within(get(pair), "a pair"), [4, -4]);
});

t.test("refs cross inside containers and stay refs", async (t) => {
  const inner = put({ text: "from TypeScript" });
  const [value, box, made] = (await within(
    get(pyFunction("mixed_side", "ref_in_box").remote({ deep: [inner] })),
    "ref_in_box",
  )) as [unknown, { ref: ObjectRef }, ObjectRef];
  t.same(value, { text: "from TypeScript" });
  t.ok(box.ref instanceof ObjectRef);
  t.equal(box.ref.id, inner.id);
  inner[Symbol.dispose]();
  t.same(await within(get(box.ref), "the ref that came back"), { text: "from TypeScript" });
  t.equal(await within(get(made), "the ref that Python made"), "made in Python");
});

t.test("handles cross inside containers, both ways", async (t) => {
  class Counter {
    private count = 0;
    add(n: number): number {
      this.count += n;
      return this.count;
    }
  }
  const counter = remote(Counter).remote();
  t.equal(
    await within(get(pyFunction("mixed_side", "use_handle").remote({ counter }, 10)), "use_handle"),
    10,
  );
  t.equal(await within(get(counter.add.remote(1)), "the same actor"), 11);
  const made = (await within(
    get(pyFunction("mixed_side", "make_counter").remote(100)),
    "make_counter",
  )) as {
    handle: ActorHandle<PyCounter>;
  };
  t.equal(await within(get(made.handle.add.remote(1)), "a Python actor made in a task"), 101);
  const again = remote(async (box: { handle: ActorHandle<PyCounter> }) =>
    get(box.handle.add.remote(1)),
  );
  t.equal(await within(get(again.remote(made)), "its handle in a TypeScript worker"), 102);
});

t.test("a remote function and a plain function pass through Python untouched", async (t) => {
  const by = 3;
  const [triple, plain] = (await within(
    get(echo.remote([remote((x: number) => x * by), (x: number) => x + by])),
    "functions",
  )) as [ReturnType<typeof remote<[number], number>>, (x: number) => number];
  t.equal(await within(get(triple.remote(14)), "the remote function"), 42);
  t.equal(plain(1), 4);
});

t.test("a remote function called as a value on the other side says what to do", async (t) => {
  const square = remote((x: number) => x * x);
  const told = pyFunction<[unknown], string>("mixed_side", "calls_value").remote({ fn: square });
  t.match(
    await within(get(told), "Python"),
    /remote function of TypeScript cannot be called .*js_function/,
  );
  const made = pyFunction<[], { fn: { remote(): unknown } }>("mixed_side", "make_remote");
  const { fn } = await within(get(made.remote()), "Python's function");
  t.throws(() => fn.remote(), { message: /cannot be called as a value in TypeScript.*pyFunction/ });
});

t.test("options of one call reach an actor written in Python", async (t) => {
  interface Options {
    group(): string;
    name(): string;
    flaky(at: number): number;
  }
  const actor = pyActor<Options>("mixed_side", "Options", {
    concurrencyGroups: { io: 1 },
    numCpus: 0,
  }).remote();
  const group = await within(
    get(actor.group.options({ concurrencyGroup: "io" }).remote()),
    "a call in a group",
  );
  t.match(group, /polyray-io/);
  t.notMatch(await within(get(actor.group.remote()), "a call without"), /polyray-io/);
  t.equal(await within(get(actor.name.options({ name: "mine" }).remote()), "a named call"), "mine");
  const retried = actor.flaky.options({ retryErrors: true, maxTaskRetries: 3 });
  t.equal(await within(get(retried.remote(3)), "a call that is retried"), 3);
  const other = actor.flaky.options({ retryErrors: false, maxTaskRetries: 3 });
  await t.rejects(within(get(other.remote(9)), "a call that is not"), { name: "TaskError" });
  await t.rejects(
    within(
      get(actor.group.options({ concurrencyGroup: "none" }).remote()),
      "a group that is not there",
    ),
    /no concurrency group 'none'/,
  );
});
