// SPDX-License-Identifier: Apache-2.0
//
// Goal: task specs keep all their fields, in both languages; the generated files are those of their sources.
// Method: every field set, the bytes that each language wrote (test/contract/values/task-spec.json), seeded damage.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t from "tap";
import { CorruptValueError } from "../../../ts/base/errors.ts";
import {
  decodeTaskSpec,
  encodeTaskSpec,
  methodDefaults,
  type TaskSpecFields,
  taskSpecDefaults,
  toFixedPoint,
} from "../../../ts/wire/task-spec.ts";

const full: TaskSpecFields = {
  kind: "actor_class",
  language: "ts",
  form: "value",
  module: "file:///app/model.ts",
  exportName: "Model",
  payload: new Uint8Array([1, 2, 3]),
  contentHash: "abc",
  name: "Model é",
  numReturns: -1,
  maxRetries: -1,
  retryExceptions: true,
  retryExceptionList: new Uint8Array([4]),
  maxCalls: 5,
  maxConcurrency: 6,
  maxRestarts: -1,
  maxTaskRetries: 7,
  isAsync: true,
  isGenerator: true,
  resources: { CPU: 0.5, alice: 2, tiny: 0.0001 },
  envVars: { A: "b", EMPTY: "" },
  workingDir: "/app",
  loaderArgs: ["--import", "tsx"],
  sysPath: ["/a", "/b"],
  concurrencyGroups: { io: 2, compute: 4 },
  scheduling: "SPREAD",
  priority: -3,
  timeoutMs: 1500.5,
  streamHighWaterMark: 16,
  methods: [
    { ...methodDefaults, name: "predict", numReturns: 2, isAsync: true, concurrencyGroup: "io" },
    { ...methodDefaults, name: "items", isGenerator: true, timeoutMs: 5 },
  ],
  labels: { zone: "a" },
  namespace: "ns",
  actorName: "m",
  lifetime: "detached",
  maxPendingCalls: 9,
  runtimeEnvHash: "h",
};

t.test("every field comes back", async (t) => {
  t.same(decodeTaskSpec(encodeTaskSpec(full)), full);
});

t.test("fields that are left out have their defaults", async (t) => {
  const fields = decodeTaskSpec(encodeTaskSpec({ kind: "task", language: "py", name: "f" }));
  t.same(fields, { ...taskSpecDefaults, kind: "task", language: "py", name: "f" });
});

t.test("what each language wrote is read alike", async (t) => {
  const file = new URL("../../contract/values/task-spec.json", import.meta.url);
  const { ts, py } = JSON.parse(readFileSync(file, "utf8")) as { ts: string; py: string };
  t.same(decodeTaskSpec(Buffer.from(ts, "hex")), full);
  t.same(decodeTaskSpec(Buffer.from(py, "hex")), full);
});

t.test("amounts of resources are whole ten-thousandths", async (t) => {
  t.equal(toFixedPoint(0.1 + 0.2), 3000n);
  for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY])
    t.throws(() => toFixedPoint(bad), RangeError);
});

t.test("damaged bytes give fields or a CorruptValueError", async (t) => {
  const good = encodeTaskSpec(full);
  let state = 20261122;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const bytes = good.slice(0, round % 2 === 0 ? good.length : next(good.length));
    for (let i = 0; i < 3; i++) if (bytes.length > 0) bytes[next(bytes.length)] = next(256);
    try {
      decodeTaskSpec(bytes);
    } catch (error) {
      refused++;
      if (!(error instanceof CorruptValueError)) t.fail(String(error));
    }
  }
  t.ok(refused > 300, `${refused} were refused`);
});

t.test("the generated tables are those of their sources", async (t) => {
  for (const name of ["gen-errors", "gen-limits"]) {
    const script = fileURLToPath(new URL(`../../../scripts/${name}.mjs`, import.meta.url));
    t.doesNotThrow(
      () => execFileSync(process.execPath, [script, "--check"], { stdio: "pipe" }),
      name,
    );
  }
});
