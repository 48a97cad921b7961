// SPDX-License-Identifier: Apache-2.0
// Arrow tables: finds the user's own apache-arrow when the first table is met, reads IPC bytes without a copy,
// and stands in with ArrowValue where the library is not installed. Loads nothing before it is needed.

import { pathToFileURL } from "node:url";
import { makeError } from "../base/errors.ts";
import { findPackage } from "../base/program-places.ts";
import { type ArrowClasses, transplantTable } from "./arrow-transplant.ts";
import { ArrowKind } from "./values.ts";

/** The part of apache-arrow that is used here. */
export interface ArrowLibrary extends ArrowClasses {
  tableFromIPC(bytes: Uint8Array): ArrowTable;
  tableToIPC(table: unknown, type: "stream"): Uint8Array;
  /** Absent in old releases. */
  readonly AsyncByteQueue?: abstract new () => ByteQueue;
  readonly RecordBatchStreamWriter?: new () => StreamWriter;
}

interface ByteQueue {
  write(chunk: Uint8Array): void;
}

interface StreamWriter {
  reset(sink: ByteQueue): this;
  writeAll(table: unknown): unknown;
}

/** The part of an Arrow table that is used here. */
export interface ArrowTable {
  readonly schema: unknown;
  readonly numRows: number;
  readonly batches: readonly unknown[];
}

const tableBrand = Symbol.for("apache-arrow/Table");
const batchBrand = Symbol.for("apache-arrow/RecordBatch");
let library: ArrowLibrary | null | undefined;

const moduleFile = (file: string) => file.replace(/\.js$/, ".mjs");

/**
 * Loads the copy of apache-arrow that the program itself has or would import: the CommonJS one when it is loaded, else
 * the ES module. Await it before decoding an envelope with `hasArrow`, so that tables fit the program's own library.
 */
export async function loadArrow(): Promise<ArrowLibrary | null> {
  if (library !== undefined) return library;
  const found = findPackage("apache-arrow");
  if (found === null || found.require.cache[found.file] !== undefined) return arrowLibrary();
  try {
    library = (await import(pathToFileURL(moduleFile(found.file)).href)) as ArrowLibrary;
  } catch {
    return arrowLibrary(); // a release without that file
  }
  return library;
}

/** The library as `loadArrow` finds it, at once; null when it is nowhere. */
export function arrowLibrary(): ArrowLibrary | null {
  if (library !== undefined) return library;
  const found = findPackage("apache-arrow");
  library = found === null ? null : requireArrow(found.file, found.require);
  return library;
}

function requireArrow(file: string, require: NodeJS.Require): ArrowLibrary {
  if (require.cache[file] === undefined) {
    try {
      return require(moduleFile(file)) as ArrowLibrary; // the very instance that `import` gives
    } catch {
      // a Node or loader that cannot require ES modules
    }
  }
  return require(file) as ArrowLibrary;
}

/** Uses a given copy of apache-arrow from now on (null: none; undefined: look again). */
export function useArrowLibrary(lib: ArrowLibrary | null | undefined): void {
  library = lib;
}

/** An Arrow value as IPC stream bytes: what a program gets where apache-arrow is not installed. */
export class ArrowValue {
  /** The Arrow IPC stream. A view on the object's memory. */
  readonly bytes: Uint8Array;
  readonly kind: number;
  constructor(bytes: Uint8Array, kind: number = ArrowKind.table) {
    this.bytes = bytes;
    this.kind = kind;
  }

  /** The schema, read with apache-arrow; null when it is not installed. */
  get schema(): unknown {
    return arrowLibrary() === null ? null : this.table().schema;
  }

  /** The table over the same bytes; throws when apache-arrow is not installed. */
  table(): ArrowTable {
    const lib = arrowLibrary();
    if (lib === null) {
      throw makeError("UNSERIALIZABLE", "apache-arrow is not installed: npm install apache-arrow");
    }
    return lib.tableFromIPC(this.bytes);
  }
}

/** 0 for a table, 1 for a record batch, null for anything else; works across copies of the library. */
export function arrowKindOf(value: object): number | null {
  const proto = value as Record<symbol, unknown>;
  if (proto[tableBrand] === true) return ArrowKind.table;
  if (proto[batchBrand] === true) return ArrowKind.recordBatch;
  const old = value as Partial<ArrowTable> & { data?: unknown }; // releases before the brands
  const name = value.constructor?.name;
  if (name === "Table" && Array.isArray(old.batches) && "schema" in value) return ArrowKind.table;
  if (name === "RecordBatch" && "schema" in value && "data" in value) return ArrowKind.recordBatch;
  return null;
}

/**
 * The IPC stream of a table or record batch of apache-arrow, as chunks. Those of columns are views on the table's own
 * memory: nothing is copied before the stream is written to where it will live.
 */
export function arrowToChunks(value: object, kind: number): Uint8Array[] {
  const lib = arrowLibrary();
  if (lib === null)
    throw makeError("UNSERIALIZABLE", "an Arrow table, but apache-arrow cannot be loaded");
  const batches = kind === ArrowKind.recordBatch ? [value] : (value as ArrowTable).batches;
  const own = Object.getPrototypeOf(value);
  if (own === lib.Table.prototype) return streamOf(value, lib);
  if (own === lib.RecordBatch.prototype) return streamOf(new lib.Table(batches), lib);
  return streamOf(transplantTable((value as ArrowTable).schema, batches, lib), lib);
}

function streamOf(table: object, lib: ArrowLibrary): Uint8Array[] {
  const { AsyncByteQueue, RecordBatchStreamWriter } = lib;
  if (AsyncByteQueue === undefined || RecordBatchStreamWriter === undefined)
    return [lib.tableToIPC(table, "stream")];
  const chunks: Uint8Array[] = [];
  // The library's writer hands each buffer to its queue; this one keeps them apart instead of joining them.
  class ChunkQueue extends AsyncByteQueue {
    override write(chunk: Uint8Array): void {
      chunks.push(chunk);
    }
  }
  new RecordBatchStreamWriter().reset(new ChunkQueue()).writeAll(table);
  return chunks;
}

/** A table over IPC bytes, else an ArrowValue when there is no library or it lacks a type. */
export function arrowFromBytes(bytes: Uint8Array, kind: number): unknown {
  const lib = arrowLibrary();
  if (lib === null) return new ArrowValue(bytes, kind);
  try {
    const table = lib.tableFromIPC(bytes);
    return kind === ArrowKind.recordBatch && table.batches.length === 1 ? table.batches[0] : table;
  } catch {
    return new ArrowValue(bytes, kind); // a type that Arrow JS cannot read stays passable
  }
}
