// SPDX-License-Identifier: Apache-2.0
// Goal: init refuses sizes and places that cannot work, with typed errors that say what to do, and starts well afterwards;
// a store that is full says who holds it, and works again once something is released.
// Method: init over and over in one process; a small real tmpfs where mounting is allowed.

import { execFileSync } from "node:child_process";
import {
  get,
  type InitOptions,
  init,
  isInitialized,
  put,
  putAsync,
  pyFunction,
  release,
  shutdown,
} from "polyray";
import t from "tap";
import { fixtures, rejection, scratchFolder, thrown, within } from "./support.ts";

process.env.PYTHONPATH = fixtures;
t.teardown(() => shutdown());

t.test("impossible sizes and unknown names are refused, and a good init follows", async (t) => {
  const cases: [InitOptions, RegExp][] = [
    [{ numCpus: -1 }, /numCpus/],
    [{ numCpus: Number.NaN }, /numCpus/],
    [{ numCpus: Number.POSITIVE_INFINITY }, /numCpus/],
    [{ numCpus: "two" as never }, /numCpus/],
    [{ numGpus: -1 }, /numGpus/],
    [{ memory: "lots" }, /memory/],
    [{ objectStoreMemory: -1 }, /objectStoreMemory/],
    [{ objectStoreMemory: Number.NaN }, /objectStoreMemory/],
    [{ objectStoreMemory: 1 }, /objectStoreMemory.*8 MiB/],
    [{ objectStoreMemory: "1000TiB" }, /objectStoreMemory.*this machine has/],
    [{ resources: { alice: -1 } }, /resources/],
    [{ resources: { CPU: 2 } }, /CPU.*numCpus/],
    [{ resources: { ["x".repeat(56)]: 1 } }, /55 bytes/],
    [{ colour: "blue" } as never, /colour.*numCpus/],
    [{ runtimeEnv: { pip: [] } as never }, /pip/],
    [{ address: "" }, /address/],
  ];
  for (const [options, pattern] of cases) {
    const error = await rejection(init(options));
    t.equal(error.name, "InvalidOptionError", error.message);
    t.match(error.message, pattern);
    t.notOk(isInitialized());
  }
  for (const address of ["127.0.0.1:1", "session:0000000000000000"]) {
    const nowhere = await rejection(init({ address }));
    t.equal(nowhere.name, "SystemError");
    t.match(nowhere.message, /no runtime found at address.*polyray start --head/s);
  }
  await within(init({ numCpus: 1, objectStoreMemory: "64MiB", logToDriver: false }), "init");
  t.equal(await within(get(pyFunction("mixed_side", "echo").remote(1)), "a call"), 1);
  await shutdown();
});

t.test("a shared-memory place that does not exist or is too small", async (t) => {
  const missing = await rejection(
    init({ plasmaDirectory: "/no/such/folder", objectStoreMemory: "64MiB" }),
  );
  t.equal(missing.name, "InvalidOptionError");
  t.match(missing.message, /\/no\/such\/folder/);
  const mount = scratchFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], { stdio: "ignore" });
  } catch {
    t.comment("mounting is not allowed here: the small mount is not tried");
    return;
  }
  t.teardown(() => execFileSync("umount", ["-l", mount]));
  const small = await rejection(
    init({ plasmaDirectory: mount, objectStoreMemory: "64MiB", numCpus: 1 }),
  );
  t.equal(small.name, "ObjectStoreFullError");
  t.match(small.message, /bytes free.*objectStoreMemory/);
  t.notOk(isInitialized());
});

t.test("a full store names its holders, and goes on once something is released", async (t) => {
  await within(init({ numCpus: 1, objectStoreMemory: "16MiB", logToDriver: false }), "init");
  const held: Uint8Array[] = []; // values in use: others would go to disk
  const block = new Uint8Array(3 * 1024 * 1024);
  const error = await rejection(
    (async () => {
      for (let i = 0; i < 20; i++) held.push(await get(await putAsync(block, { timeoutMs: 500 })));
    })(),
  );
  t.equal(error.name, "ObjectStoreFullError");
  t.match(error.message, /Release refs, or start with a larger objectStoreMemory/);
  t.match(error.message, new RegExp(String(process.pid)), "it names who holds the bytes");
  t.ok(held.length >= 3);
  t.match(
    thrown(() => put(block)),
    { name: "ObjectStoreFullError", message: /read \d+ bytes without a copy.*await putAsync/s },
    "a synchronous put says why it cannot wait",
  );
  t.equal(held[0]?.length, block.length);
  for (const value of held.splice(0)) release(value);
  t.equal(
    await within(
      get(pyFunction<[unknown], string>("mixed_side", "type_name").remote(put(block))),
      "a call",
    ),
    "bytes",
  );
  const tooBig = thrown(() => put(new Uint8Array(32 * 1024 * 1024)));
  t.equal(tooBig.name, "ObjectStoreFullError");
  t.equal(
    await within(get(pyFunction("mixed_side", "echo").remote("still here")), "a call"),
    "still here",
  );
  const result = await rejection(
    get(pyFunction("mixed_side", "make_and_tell").remote(32 * 1024 * 1024)),
  );
  t.match(`${result.name} ${result.message}`, /ObjectStoreFullError/);
  await shutdown();
});
