// SPDX-License-Identifier: Apache-2.0
/**
 * The shape of a shipped function: what `describeFunction` returns and `reviveFunction` takes.
 *
 * A function is either a reference to a module's export, or a graph: a table of nodes (functions,
 * plain containers that hold functions, shared mutable cells) whose edges are captures.
 * Invariants:
 * 1. Everything here is plain data except `ValueCapture.value`, which the value codec carries.
 * 2. A node index is stable within its descriptor; cycles are edges to an earlier index.
 */

/** How a module is reached again in the worker. */
export interface ModuleRef {
  /** As written in the source: `./a.js`, `pkg`, `node:fs`, or an absolute file URL. */
  readonly specifier: string;
  /** The file URL the specifier is relative to, or null when it is absolute. */
  readonly parentUrl: string | null;
  /** `import` for ES modules, `require` for CommonJS, `builtin` for `node:` modules. */
  readonly via: "import" | "require" | "builtin";
}

/** What a transpiler wrapped around a `require` call. */
export type Interop = "none" | "esm" | "node" | "default";

/** A value the codec must carry. */
export interface ValueCapture {
  readonly kind: "value";
  readonly value: unknown;
}

/** An export of a module; `*` is the whole namespace (or `module.exports`). */
export interface ModuleCapture {
  readonly kind: "module";
  readonly ref: ModuleRef;
  readonly exportName: string;
  readonly interop: Interop;
}

/** Another node of the same descriptor. */
export interface NodeCapture {
  readonly kind: "node";
  readonly node: number;
}

/**
 * A global reached by a path (`["Object", "defineProperty"]`), or one of `["__name"]`,
 * `["import.meta", url]`, `["Symbol.for", key]`.
 */
export interface BuiltinCapture {
  readonly kind: "builtin";
  readonly path: readonly string[];
}

/** `require` of the file that the function was written in. */
export interface RequireCapture {
  readonly kind: "require";
  readonly parentUrl: string;
}

/** One edge of the graph. */
export type Capture = ValueCapture | ModuleCapture | NodeCapture | BuiltinCapture | RequireCapture;

/** A captured variable of a function; `eager` when a class needs it while it is being built. */
export interface CapturedVariable {
  readonly name: string;
  readonly eager: boolean;
  readonly capture: Capture;
}

/** A property to set again after the function exists. */
export interface CapturedProperty {
  readonly key: string;
  readonly capture: Capture;
}

/** Which syntax the source is in: it decides how the source becomes an expression. */
export type SourceForm = "function" | "arrow" | "method" | "getter" | "setter" | "class";

/** A function or class that travels as source. */
export interface FunctionNode {
  readonly type: "function";
  readonly name: string;
  readonly form: SourceForm;
  /** Source text, edited only where a name had to change (see capture.ts). */
  readonly source: string;
  readonly strict: boolean;
  /** The file URL (or script name) it was written in, null when unknown. */
  readonly sourceUrl: string | null;
  /** Zero-based position of the running source. */
  readonly line: number;
  readonly column: number;
  /** Flat triples (offset in source, original line, original column), ascending; null when not transpiled. */
  readonly anchors: readonly number[] | null;
  readonly captured: readonly CapturedVariable[];
  readonly properties: readonly CapturedProperty[];
  readonly prototypeProperties: readonly CapturedProperty[];
}

/** A plain object or array that holds functions. */
export interface ContainerNode {
  readonly type: "object" | "array";
  readonly entries: readonly CapturedProperty[];
}

/** A map (keys and values in turn) or a set that holds functions. */
export interface CollectionNode {
  readonly type: "map" | "set";
  readonly items: readonly Capture[];
}

/** A symbol of the program's own: the same one for all functions of the descriptor. */
export interface SymbolNode {
  readonly type: "symbol";
  readonly description: string | null;
}

/** A variable that several shipped functions share and at least one assigns. */
export interface CellNode {
  readonly type: "cell";
  readonly capture: Capture;
}

export type DescriptorNode = FunctionNode | ContainerNode | CollectionNode | SymbolNode | CellNode;

/** A function that is an export of a module other than the main script. */
export interface ModuleFunction {
  readonly kind: "module";
  readonly name: string;
  readonly isClass: boolean;
  readonly specifier: string;
  readonly via: "import" | "require";
  readonly exportName: string;
  /** SHA-256 of the module's file, null when it cannot be read. */
  readonly contentHash: string | null;
}

/** A function that travels by value. */
export interface ValueFunction {
  readonly kind: "value";
  readonly name: string;
  readonly isClass: boolean;
  readonly root: Capture;
  readonly nodes: readonly DescriptorNode[];
}

export type FunctionDescriptor = ModuleFunction | ValueFunction;
