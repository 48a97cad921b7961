// SPDX-License-Identifier: Apache-2.0
// Goal: a 112 MB Arrow table goes from TypeScript to Python and back with its buffers in the mapped segment on both sides,
// and neither process grows by it. Method: addresses against /proc/self/maps, RssAnon before and after (touched pages of
// shared mappings count in RSS, so RSS says nothing).

import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { makeTable, type Table } from "apache-arrow";
import t from "tap";
import { get, init, put, pyActor, shutdown } from "../../../ts/index.ts";
import { loadNative } from "../../../ts/native/load.ts";

const rows = 7_000_000; // two columns of 8 bytes: 112 MB
const allowedBytes = 5_000_000;

interface Looked {
  readonly outside: number;
  readonly bytes: number;
  readonly sum: number;
  readonly anonymous: number;
}

interface ArrowSide {
  baseline(table: Table): number;
  look(table: Table): Looked;
  back(table: Table): Table;
  after(): number;
}

function anonymousBytes(): number {
  const match = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
  return Number(match?.[1]) * 1024;
}

function inSegment(view: ArrayBufferView): boolean {
  const address = loadNative().addressOf(
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
  );
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .some((line) => {
      const match = /^([0-9a-f]+)-([0-9a-f]+) .*memfd:\S*polyray/.exec(line);
      return (
        match !== null &&
        Number.parseInt(match[1] as string, 16) <= address &&
        address < Number.parseInt(match[2] as string, 16)
      );
    });
}

t.test("112 MB of Arrow cross both ways in place", async (t) => {
  process.env.PYTHONPATH = dirname(
    fileURLToPath(new URL("./fixtures/arrow_side.py", import.meta.url)),
  );
  await init({ numCpus: 2, objectStoreMemory: 1024 ** 3 });
  t.teardown(() => shutdown());
  const small = makeTable({ id: new Float64Array(8), value: new Float64Array(8) });
  const side = pyActor<ArrowSide>("arrow_side", "ArrowSide").remote();
  const baseline = await get(side.baseline.remote(put(small)));
  t.equal((await get(side.back.remote(put(small)))).numRows, 8, "the way is warm on both sides");

  const id = new Float64Array(rows);
  const value = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    id[i] = i;
    value[i] = i % 3;
  }
  const ref = put(makeTable({ id, value }));
  const looked = await get(side.look.remote(ref));
  t.equal(looked.bytes >= rows * 16, true, "Python saw all buffers");
  t.equal(looked.outside, 0, "every buffer lies in the segment in Python");
  t.equal(
    looked.sum,
    value.reduce((a, b) => a + b, 0),
    "the values are right",
  );

  const returned = side.back.remote(ref);
  await get(side.after.remote()); // behind it in the actor's queue: the table is back in the store
  globalThis.gc?.();
  const before = anonymousBytes();
  const table = await get(returned);
  const columns = table.data.flatMap((batch) =>
    batch.children.map((child) => child.values as Float64Array),
  );
  t.equal(
    columns.reduce((sum, column) => sum + column.length, 0),
    rows * 2,
  );
  t.ok(columns.every(inSegment), "every buffer lies in the segment in TypeScript");
  let sum = 0;
  for (const column of columns) sum += column[column.length - 1] as number;
  t.equal(sum, rows - 1 + ((rows - 1) % 3), "the last row is right");
  const grown = anonymousBytes() - before;
  t.ok(grown < allowedBytes, `TypeScript grew by ${grown} bytes`);
  const pythonGrown = (await get(side.after.remote())) - baseline;
  t.ok(pythonGrown < allowedBytes, `Python grew by ${pythonGrown} bytes`);
});
