// SPDX-License-Identifier: Apache-2.0
/**
 * `reviveFunction`: makes a function again from its descriptor.
 *
 * Each function is compiled on its own, under the name and at the position of its original file, in
 * a small closure that holds its captured variables; modules come first, then functions, then
 * classes in the order in which their bodies need each other, then all variables.
 * Invariant: two captures of one node get the same object.
 */

import { findSourceMap } from "node:module";
import { noteErrorClass } from "../error-classes.ts";
import { isMethodForm } from "./analyze.ts";
import type {
  Capture,
  CapturedProperty,
  DescriptorNode,
  FunctionDescriptor,
  FunctionNode,
  ModuleCapture,
  ModuleFunction,
  ModuleRef,
  ValueFunction,
} from "./descriptor.ts";
import { layOut } from "./edits.ts";
import { resolveIntrinsic } from "./intrinsics.ts";
import {
  evaluateAt,
  type ImportModule,
  importMetaOf,
  importModule,
  keyOf,
  loadModules,
  moduleNow,
  requireOf,
} from "./loader.ts";
import type { AnyFunction } from "./origin.ts";
import { knownRequires, revivedNodes } from "./registry.ts";

/** A function before it exists: `create` runs its source, `bind` sets its captured variables. */
interface Blank {
  readonly create: () => unknown;
  readonly bind: (variables: Record<string, unknown>) => void;
}

/** Some modules must be loaded (asynchronously) before the function can be revived. */
export class ModulesPending extends Error {
  readonly refs: readonly ModuleRef[];
  constructor(refs: readonly ModuleRef[]) {
    super(`modules to load first: ${refs.map((ref) => ref.specifier).join(", ")}`);
    this.name = "ModulesPending";
    this.refs = refs;
  }
}

/** Revives a function; `load` defaults to Node's own loader. */
export async function reviveFunction(
  descriptor: FunctionDescriptor,
  load: ImportModule = importModule,
): Promise<AnyFunction> {
  await loadModules(modulesOf(descriptor), load);
  return reviveFunctionNow(descriptor);
}

/** Revives at once. Throws `ModulesPending` when ES modules must be loaded before (`loadModules`). */
export function reviveFunctionNow(descriptor: FunctionDescriptor): AnyFunction {
  const modules = new Map<string, unknown>();
  const pending: ModuleRef[] = [];
  for (const ref of modulesOf(descriptor)) {
    const found = moduleNow(ref);
    if (found === null) pending.push(ref);
    else modules.set(keyOf(ref), found.module);
  }
  if (pending.length > 0) throw new ModulesPending(pending);
  if (descriptor.kind === "value") return new Reviver(descriptor, modules).revive();
  const ref = refOf(descriptor);
  const { exportName, specifier } = descriptor;
  const capture: ModuleCapture = { kind: "module", ref, exportName, interop: "none" };
  const value = exportOf(modules.get(keyOf(ref)), capture);
  if (typeof value === "function") return value;
  throw new TypeError(`export "${exportName}" of ${specifier} is not a function`);
}

/** The modules that a descriptor needs, each once. */
export function modulesOf(descriptor: FunctionDescriptor): ModuleRef[] {
  if (descriptor.kind === "module") return [refOf(descriptor)];
  const refs = new Map<string, ModuleRef>();
  for (const { ref } of moduleCaptures(descriptor)) refs.set(keyOf(ref), ref);
  return [...refs.values()];
}

function refOf({ specifier, via }: ModuleFunction): ModuleRef {
  return { specifier, parentUrl: null, via };
}

class Reviver {
  readonly #descriptor: ValueFunction;
  readonly #modules: ReadonlyMap<string, unknown>;
  readonly #values: unknown[] = [];
  readonly #blanks = new Map<number, Blank>();
  readonly #prepared = new Set<number>();
  readonly #complete = new Set<number>();

  constructor(descriptor: ValueFunction, modules: ReadonlyMap<string, unknown>) {
    this.#descriptor = descriptor;
    this.#modules = modules;
  }

  revive(): AnyFunction {
    const { nodes, root } = this.#descriptor;
    nodes.forEach((node, index) => {
      this.#open(node, index);
    });
    for (const index of nodes.keys()) this.#prepare(index);
    for (const index of nodes.keys()) this.#fill(index);
    nodes.forEach((node, index) => {
      if (node.type === "function") this.#decorate(node, this.#values[index] as AnyFunction);
    });
    const value = this.#resolve(root);
    if (typeof value === "function") return value;
    throw new TypeError(`"${this.#descriptor.name}" did not become a function again`);
  }

  /** Makes what can exist without its captures. */
  #open(node: DescriptorNode, index: number): void {
    if (node.type === "function") {
      const blank = compile(node);
      this.#blanks.set(index, blank);
      if (node.form !== "class") this.#create(node, index, blank);
    } else {
      this.#values[index] = emptyOf(node);
    }
  }

  #create(node: FunctionNode, index: number, blank: Blank): void {
    const fn = extract(node, blank.create());
    revivedNodes.set(fn, node);
    this.#values[index] = fn;
  }

  /** Makes a node and all that running it would touch: what a class body needs goes first. */
  #prepare(index: number): void {
    const node = this.#descriptor.nodes[index];
    if (node === undefined || this.#prepared.has(index)) return;
    this.#prepared.add(index);
    if (node.type !== "function") {
      for (const capture of capturesOf(node)) this.#prepareCapture(capture);
      this.#fill(index);
      return;
    }
    const isClass = node.form === "class";
    for (const { capture, eager } of node.captured)
      if (eager || !isClass) this.#prepareCapture(capture);
    this.#fill(index);
    const blank = this.#blanks.get(index);
    if (isClass && blank !== undefined) this.#create(node, index, blank);
  }

  #prepareCapture(capture: Capture): void {
    if (capture.kind === "node") this.#prepare(capture.node);
  }

  /** Sets variables, entries and cells to what exists so far. */
  #fill(index: number): void {
    const node = this.#descriptor.nodes[index];
    if (node === undefined || this.#complete.has(index)) return;
    const captures =
      node.type === "function" ? node.captured.map((item) => item.capture) : capturesOf(node);
    if (captures.every((capture) => this.#exists(capture))) this.#complete.add(index);
    const value = this.#values[index];
    if (node.type === "cell") {
      (value as { v: unknown }).v = this.#resolve(node.capture);
    } else if (node.type === "function") {
      const variables: Record<string, unknown> = {};
      for (const { name, capture } of node.captured) variables[name] = this.#resolve(capture);
      this.#blanks.get(index)?.bind(variables);
    } else if ("items" in node) {
      // Filled once, at the end: order counts, and class bodies do not see what is not made yet.
      if (this.#complete.has(index)) this.#fillCollection(value, node.items);
    } else if ("entries" in node) {
      this.#define(value as object, node.entries, true);
    }
  }

  #fillCollection(value: unknown, items: readonly Capture[]): void {
    const contents = items.map((item) => this.#resolve(item));
    if (value instanceof Set) for (const item of contents) value.add(item);
    else if (value instanceof Map) {
      for (let at = 0; at < contents.length; at += 2) value.set(contents[at], contents[at + 1]);
    }
  }

  #exists(capture: Capture): boolean {
    return capture.kind !== "node" || this.#values[capture.node] !== undefined;
  }

  #decorate(node: FunctionNode, fn: AnyFunction): void {
    if (
      fn.name !== node.name &&
      Object.getOwnPropertyDescriptor(fn, "name")?.configurable !== false
    ) {
      Object.defineProperty(fn, "name", { value: node.name, configurable: true });
    }
    this.#define(fn, node.properties, true);
    const prototype: unknown = fn.prototype;
    if (typeof prototype === "object" && prototype !== null) {
      this.#define(prototype, node.prototypeProperties, node.form !== "class");
    }
  }

  #define(owner: object, properties: readonly CapturedProperty[], enumerable: boolean): void {
    for (const { key, capture } of properties) {
      const value = this.#resolve(capture);
      Object.defineProperty(owner, key, { value, enumerable, writable: true, configurable: true });
    }
  }

  #resolve(capture: Capture): unknown {
    switch (capture.kind) {
      case "value":
        return capture.value;
      case "node":
        return this.#values[capture.node];
      case "module":
        return exportOf(this.#modules.get(keyOf(capture.ref)), capture);
      case "require": {
        const required = requireOf(capture.parentUrl);
        knownRequires.set(required, capture.parentUrl);
        return required;
      }
      case "builtin":
        if (capture.path[0] === "import.meta") return importMetaOf(capture.path[1] ?? "");
        return resolveIntrinsic(capture.path);
    }
  }
}

/** Compiles the source in a closure of its own; nothing of it runs yet. */
function compile(node: FunctionNode): Blank {
  const names = node.captured.map((variable) => variable.name);
  const list = names.join(",");
  const strict = node.strict ? '"use strict";' : "";
  const declared = names.length === 0 ? "" : `let ${list};`;
  const [open, close] = isMethodForm(node.form) ? ["({", "})"] : ["(", ")"];
  const bind = names.length === 0 ? "()=>{}" : `($$from)=>{({${list}}=$$from)}`;
  const head = `(function(){${strict}${declared}return[()=>${open}`;
  const { source, line, column } = placed(node);
  const text = `${head}${source}\n${close},${bind}]})`;
  const filename = node.sourceUrl ?? "polyray-function";
  const place = { filename, lineOffset: line, columnOffset: column - head.length };
  const [create, bound] = (evaluateAt(text, place) as () => [Blank["create"], Blank["bind"]])();
  return { create, bind: bound };
}

/** The text and where it starts: on its original lines, unless a source map in force does that. */
function placed(node: FunctionNode): { source: string; line: number; column: number } {
  const { anchors, source, line, column, sourceUrl } = node;
  const mapped = sourceUrl !== null && findSourceMap(sourceUrl) !== undefined;
  if (anchors === null || mapped) return { source, line, column };
  return {
    source: layOut(source, anchors),
    line: anchors[1] ?? line,
    column: anchors[2] ?? column,
  };
}

function extract(node: FunctionNode, made: unknown): AnyFunction {
  if (node.form === "class") noteErrorClass(made);
  if (!isMethodForm(node.form)) return made as AnyFunction;
  const [descriptor] = Object.values(Object.getOwnPropertyDescriptors(made as object));
  return (descriptor?.value ?? descriptor?.get ?? descriptor?.set) as AnyFunction;
}

function capturesOf(node: Exclude<DescriptorNode, FunctionNode>): Capture[] {
  if (node.type === "symbol") return [];
  if ("items" in node) return [...node.items];
  return node.type === "cell" ? [node.capture] : node.entries.map((entry) => entry.capture);
}

function emptyOf(node: Exclude<DescriptorNode, FunctionNode>): unknown {
  switch (node.type) {
    case "array":
      return [];
    case "map":
      return new Map();
    case "set":
      return new Set();
    case "symbol":
      return Symbol(node.description ?? undefined);
    default:
      return {};
  }
}

function* moduleCaptures({ root, nodes }: ValueFunction): Iterable<ModuleCapture> {
  const captures: Capture[] = [root];
  for (const node of nodes) {
    if (node.type !== "function") captures.push(...capturesOf(node));
    else {
      const { captured, properties, prototypeProperties } = node;
      for (const item of [...captured, ...properties, ...prototypeProperties])
        captures.push(item.capture);
    }
  }
  for (const capture of captures) if (capture.kind === "module") yield capture;
}

/** The export a capture names, under what a transpiler makes of CommonJS exports. */
function exportOf(module: unknown, { ref, exportName, interop }: ModuleCapture): unknown {
  const isReference =
    (typeof module === "object" && module !== null) || typeof module === "function";
  if (!isReference) throw new TypeError(`module ${ref.specifier} is empty`);
  const exports = interop === "none" ? module : interoperate(module as object, interop);
  if (exportName === "*") return exports;
  if (!(exportName in (exports as object))) {
    throw new TypeError(`module ${ref.specifier} has no export "${exportName}"`);
  }
  return (exports as Record<string, unknown>)[exportName];
}

function interoperate(exports: object, interop: ModuleCapture["interop"]): object {
  const isModule = (exports as { __esModule?: unknown }).__esModule === true;
  if (isModule && interop !== "node") return exports;
  if (interop === "default") return { default: exports };
  const namespace: object = Object.create(
    Object.getPrototypeOf(exports) as object | null,
  ) as object;
  for (const key of Object.getOwnPropertyNames(exports)) {
    const get = (): unknown => (exports as Record<string, unknown>)[key];
    if (key !== "default") Object.defineProperty(namespace, key, { get, enumerable: true });
  }
  return Object.defineProperty(namespace, "default", { value: exports, enumerable: true });
}
