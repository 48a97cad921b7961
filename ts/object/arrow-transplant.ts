// SPDX-License-Identifier: Apache-2.0
// Rebuilds an Arrow table of one copy of apache-arrow with the classes of another, sharing the buffers.
// Why: a program may hold the CommonJS and the ES module copy of the library at once, and a writer of one copy writes
// nonsense, without an error, for a table of the other (its type checks are instanceof). Pure.

type Class = abstract new (...args: never[]) => object;

/** The classes that a table is made of. */
export interface ArrowClasses {
  Table: new (...args: unknown[]) => object;
  RecordBatch: new (...args: unknown[]) => object;
  Schema: new (...args: unknown[]) => object;
  Field: new (...args: unknown[]) => object;
  Data: new (...args: unknown[]) => object;
  Vector: new (...args: unknown[]) => object;
  DataType: Class;
}

interface AnyData {
  type: object;
  offset: number;
  length: number;
  _nullCount: number;
  valueOffsets: unknown;
  values: unknown;
  nullBitmap: unknown;
  typeIds: unknown;
  children: AnyData[];
  dictionary?: { data: AnyData[] };
}

interface AnyField {
  name: string;
  type: object;
  nullable: boolean;
  metadata: Map<string, string>;
}

interface AnySchema {
  fields: AnyField[];
  metadata: Map<string, string>;
  dictionaries: Map<number, object>;
  metadataVersion: number;
}

/** A table of `lib` over the same buffers as the given batches of another copy. */
export function transplantTable(
  schema: unknown,
  batches: readonly unknown[],
  lib: ArrowClasses,
): object {
  const transplant = new Transplant(lib);
  const own = transplant.schema(schema as AnySchema);
  const rebuilt = batches.map(
    (batch) => new lib.RecordBatch(own, transplant.data((batch as { data: AnyData }).data)),
  );
  return new lib.Table(own, rebuilt);
}

class Transplant {
  readonly #lib: ArrowClasses;
  readonly #types = new Map<object, object>();

  constructor(lib: ArrowClasses) {
    this.#lib = lib;
  }

  schema(schema: AnySchema): object {
    const dictionaries = new Map(
      [...schema.dictionaries].map(([id, type]) => [id, this.#type(type)]),
    );
    const fields = schema.fields.map((field) => this.#field(field));
    return new this.#lib.Schema(fields, schema.metadata, dictionaries, schema.metadataVersion);
  }

  data(data: AnyData): object {
    const dictionary = data.dictionary;
    const buffers = [data.valueOffsets, data.values, data.nullBitmap, data.typeIds];
    return new this.#lib.Data(
      this.#type(data.type),
      data.offset,
      data.length,
      data._nullCount,
      buffers,
      data.children.map((child) => this.data(child)),
      dictionary === undefined
        ? undefined
        : new this.#lib.Vector(dictionary.data.map((part) => this.data(part))),
    );
  }

  #field(field: AnyField): object {
    return new this.#lib.Field(field.name, this.#type(field.type), field.nullable, field.metadata);
  }

  // A type is its class and plain fields; nested types hold fields or other types.
  #type(type: object): object {
    const known = this.#types.get(type);
    if (known !== undefined) return known;
    const Class = (this.#lib as unknown as Record<string, Class | undefined>)[
      type.constructor.name
    ];
    const rebuilt = Object.create((Class ?? this.#lib.DataType).prototype) as Record<
      string,
      unknown
    >;
    this.#types.set(type, rebuilt);
    for (const [key, value] of Object.entries(type)) rebuilt[key] = this.#part(value);
    return rebuilt;
  }

  #part(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.#part(item));
    if (
      typeof value !== "object" ||
      value === null ||
      ArrayBuffer.isView(value) ||
      value instanceof Map
    )
      return value;
    if ("nullable" in value && "type" in value) return this.#field(value as unknown as AnyField);
    if ("typeId" in value) return this.#type(value);
    return value;
  }
}
