// SPDX-License-Identifier: Apache-2.0
//
// Goal: Arrow tables of the user's own library cross without a copy, and stay passable without the library.
// Method: real apache-arrow tables, the ESM copy here against the copy that the loader finds.

import { createRequire } from "node:module";
import {
  Dictionary,
  Int32,
  Table,
  tableFromArrays,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from "apache-arrow";
import t from "tap";
import {
  ArrowValue,
  decode,
  encode,
  hasArrow,
  loadArrow,
  plainContext,
  useArrowLibrary,
} from "../../../ts/object/serialize.ts";

const table = tableFromArrays({
  x: Float64Array.from({ length: 1000 }, (_, i) => i),
  n: new Int32Array(1000),
});

await loadArrow();
const bytes = encode({ table }, plainContext).toBytes();

t.test("a table comes back as a table of the user's library", async (t) => {
  const back = (decode(bytes, plainContext) as { table: Table }).table;
  t.ok(back instanceof Table);
  t.same(back.getChild("x")?.toArray(), table.getChild("x")?.toArray());
});

t.test("the columns lie inside of the envelope's memory", async (t) => {
  const back = (decode(bytes, plainContext) as { table: Table }).table;
  const column = back.getChild("x")?.data[0]?.values as Float64Array;
  t.equal(column.buffer, bytes.buffer);
});

t.test("the loaded library is the one that the program imports", async (t) => {
  t.equal(
    Object.getPrototypeOf((decode(bytes, plainContext) as { table: Table }).table),
    Table.prototype,
  );
});

t.test("the pieces of an encoded table lie in its own memory", async (t) => {
  const column = table.getChild("x")?.data[0]?.values as Float64Array;
  const { parts } = encode({ table }, plainContext).pieces();
  const found = parts.filter((part) => part.buffer === column.buffer);
  t.equal(
    found.reduce((sum, part) => sum + part.byteLength, 0),
    column.byteLength,
  );
});

t.test("tables of every shape are the bytes that the library writes", async (t) => {
  const words = vectorFromArray(["a", null, "b", "a"], new Dictionary(new Utf8(), new Int32()));
  const one = new Table({ words, n: vectorFromArray([1, null, 3, 4], new Int32()) });
  for (const each of [table, one, one.concat(one), one.slice(1, 3), new Table(one.schema)]) {
    const [, , ...stream] = encode(each, plainContext).pieces().parts;
    t.equal(Buffer.compare(Buffer.concat(stream), tableToIPC(each, "stream")), 0);
    const back = decode(encode(each, plainContext).toBytes(), plainContext) as Table;
    t.equal(JSON.stringify(back.toArray()), JSON.stringify(each.toArray()));
  }
});

t.test("a table of another copy of the library is written right", async (t) => {
  const other = createRequire(import.meta.url)("apache-arrow") as typeof import("apache-arrow");
  t.not(other.Table, Table, "there are two copies");
  const words = vectorFromArray(["a", null, "b", "a"], new Dictionary(new Utf8(), new Int32()));
  const nested = vectorFromArray([{ x: [1, 2] }, { x: [] }, { x: [3] }, { x: [4] }]);
  const mine = new Table({
    words,
    nested,
    plain: vectorFromArray([1.5, null, 2, 3]),
    text: vectorFromArray(["é", "", "x", "y"]),
  });
  useArrowLibrary(other as never);
  t.teardown(() => useArrowLibrary(undefined));
  const back = decode(encode(mine, plainContext).toBytes(), plainContext) as Table;
  t.equal(Object.getPrototypeOf(back), other.Table.prototype);
  t.equal(back.numRows, 4);
  t.same(JSON.stringify(back.toArray()), JSON.stringify(mine.toArray()));
  const batch = decode(encode(mine.batches[0], plainContext).toBytes(), plainContext) as Table;
  t.equal(batch.numRows, 4);
});

t.test("the header says that Arrow is inside", async (t) => {
  t.ok(hasArrow(bytes));
  t.notOk(hasArrow(encode(1, plainContext).toBytes()));
});

t.test("a record batch comes back as a record batch", async (t) => {
  const batch = table.batches[0];
  const back = decode(encode(batch, plainContext).toBytes(), plainContext) as { numRows: number };
  t.equal(back.numRows, 1000);
  t.equal(back.constructor.name, "RecordBatch");
});

t.test("without the library a table is an ArrowValue that can be sent on", async (t) => {
  useArrowLibrary(null);
  t.teardown(() => useArrowLibrary(undefined));
  const { table: value } = decode(bytes, plainContext) as { table: ArrowValue };
  t.ok(value instanceof ArrowValue);
  t.equal(value.schema, null);
  t.throws(() => value.table(), { name: "UnserializableError" });
  t.same(value.bytes, tableToIPC(table, "stream"));
  t.same(encode({ table: value }, plainContext).toBytes(), bytes);
  useArrowLibrary(undefined);
  t.equal(value.table().numRows, 1000);
});
