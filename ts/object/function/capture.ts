// SPDX-License-Identifier: Apache-2.0
/**
 * `describeFunction`: turns a function of this process into a descriptor that another process can
 * revive. Modules are named, everything else is carried: source, captured variables, functions they
 * hold, all in one table so that cycles and shared variables survive.
 *
 * Snapshot semantics, as cloudpickle: values are those of the moment of the call. A function is
 * described once per process and remembered; ask for `snapshot: "now"` to read it again.
 * Thread: the environment that owns the function; synchronous; loads no module.
 */

import { types } from "node:util";
import { UnserializableError } from "../../base/errors.ts";
import { noteErrorClass } from "../error-classes.ts";
import { SourceProblem } from "./analyze.ts";
import type {
  Capture,
  CapturedProperty,
  CapturedVariable,
  DescriptorNode,
  FunctionDescriptor,
  FunctionNode,
} from "./descriptor.ts";
import {
  applyEdits,
  cellEdit,
  cellName,
  type Edit,
  importMetaName,
  standingEdits,
  superName,
} from "./edits.ts";
import { Environments } from "./environments.ts";
import type { FreeName } from "./free-names.ts";
import { findIntrinsic, findSymbol } from "./intrinsics.ts";
import { exportOf, fileOfExports, importedCapture } from "./module-ref.ts";
import {
  type AnyFunction,
  anchorsOf,
  contentHashOf,
  isMainUrl,
  type Origin,
  originOf,
  withoutQuery,
} from "./origin.ts";
import { contentsOf, holdsFunction, isContainer, isPlainContainer, isPlainData } from "./plain.ts";
import { knownNamespaces, knownRequires } from "./registry.ts";

export interface DescribeOptions {
  /** `once` (default): the first description of a function is kept. `now`: read it again. */
  readonly snapshot?: "once" | "now";
  /** File URLs, besides the started script, that a worker must not load. */
  readonly mainUrls?: readonly string[];
  /** Objects and functions that the value codec carries itself: refs, handles, remote functions. */
  readonly isValue?: (value: object) => boolean;
}

const described = new WeakMap<AnyFunction, FunctionDescriptor>();

/** Describes `fn`. Throws `UnserializableError`, naming the variable, when it cannot travel. */
export function describeFunction(
  fn: AnyFunction,
  options: DescribeOptions = {},
): FunctionDescriptor {
  const once = options.snapshot !== "now";
  const known = once ? described.get(fn) : undefined;
  if (known !== undefined) return known;
  const descriptor = new Capturer(options).describe(fn);
  if (once) described.set(fn, descriptor);
  return descriptor;
}

/** A variable of a function node, before shared variables became cells. */
interface Variable {
  readonly free: FreeName;
  readonly environment: number;
  readonly capture: Capture;
}

/** A function node under construction. */
interface Draft {
  readonly index: number;
  readonly fn: AnyFunction;
  readonly origin: Origin;
  readonly variables: Variable[];
  readonly extras: CapturedVariable[];
  properties: CapturedProperty[];
  prototypeProperties: CapturedProperty[];
}

class Capturer {
  readonly #mainUrls: readonly string[];
  readonly #isValue: (value: object) => boolean;
  readonly #nodes: (DescriptorNode | null)[] = [];
  readonly #indices = new Map<unknown, number>();
  readonly #drafts: Draft[] = [];
  readonly #environments = new Environments();
  readonly #path: string[] = [];
  #owner: object | null = null;

  constructor({ mainUrls = [], isValue = () => false }: DescribeOptions) {
    this.#mainUrls = mainUrls;
    this.#isValue = isValue;
  }

  describe(fn: AnyFunction): FunctionDescriptor {
    const isClass = /^class\b/.test(Function.prototype.toString.call(fn));
    this.#path.push(fn.name === "" ? "(anonymous function)" : fn.name);
    const root = this.#captureFunction(fn);
    const name = fn.name;
    if (root.kind === "module" && root.ref.via !== "builtin") {
      const { specifier, via } = root.ref;
      const contentHash = contentHashOf(specifier);
      return {
        kind: "module",
        name,
        isClass,
        specifier,
        via,
        exportName: root.exportName,
        contentHash,
      };
    }
    this.#finish();
    return { kind: "value", name, isClass, root, nodes: this.#nodes as DescriptorNode[] };
  }

  #fail(why: string): never {
    const path = this.#path.join(" > ");
    throw new UnserializableError(`[cannot be sent] ${path}: ${why}`, { path });
  }

  /** Runs `work` with one more step on the path that errors name; `owner` holds what it captures. */
  #at<T>(step: string, work: () => T, owner: object | null = this.#owner): T {
    const outer = this.#owner;
    this.#owner = owner;
    this.#path.push(step);
    const result = work();
    this.#path.pop();
    this.#owner = outer;
    return result;
  }

  #captureValue(value: unknown): Capture {
    if (typeof value === "symbol") return this.#captureSymbol(value);
    const isReference =
      typeof value === "function" || (typeof value === "object" && value !== null);
    if (!isReference || this.#isValue(value)) return { kind: "value", value };
    if (typeof value === "function") return this.#captureFunction(value);
    const index = this.#indices.get(value);
    if (index !== undefined) return { kind: "node", node: index };
    const known = knownNamespaces.get(value);
    if (known !== undefined)
      return { kind: "module", ref: known, exportName: "*", interop: "none" };
    if (types.isModuleNamespaceObject(value)) {
      this.#fail("a module namespace cannot be sent; import the module inside the function");
    }
    if (types.isPromise(value)) this.#fail("a promise cannot be sent; await it first");
    const intrinsic = findIntrinsic(value);
    if (intrinsic !== null) return intrinsic;
    if (!isContainer(value) || !holdsFunction(value)) return { kind: "value", value };
    return isPlainContainer(value) ? this.#captureContainer(value) : this.#captureCollection(value);
  }

  #captureSymbol(symbol: symbol): Capture {
    const known = findSymbol(symbol);
    if (known !== null) return known;
    const index = this.#indices.get(symbol);
    if (index !== undefined) return { kind: "node", node: index };
    const node = this.#reserve(symbol);
    this.#nodes[node] = { type: "symbol", description: symbol.description ?? null };
    return { kind: "node", node };
  }

  #captureCollection(value: object): Capture {
    const node = this.#reserve(value);
    const items = contentsOf(value).map((item, at) =>
      this.#at(`[${at}]`, () => this.#captureValue(item), value),
    );
    this.#nodes[node] = { type: value instanceof Map ? "map" : "set", items };
    return { kind: "node", node };
  }

  #captureContainer(value: object, keys: Iterable<string> = Object.keys(value)): Capture {
    const index = this.#reserve(value);
    const entries: CapturedProperty[] = [];
    for (const key of keys) {
      const item = (value as Record<string, unknown>)[key];
      entries.push({ key, capture: this.#at(key, () => this.#captureValue(item), value) });
    }
    this.#nodes[index] = { type: Array.isArray(value) ? "array" : "object", entries };
    return { kind: "node", node: index };
  }

  #reserve(value: unknown): number {
    const index = this.#nodes.length;
    this.#nodes.push(null);
    this.#indices.set(value, index);
    return index;
  }

  #captureFunction(fn: AnyFunction): Capture {
    noteErrorClass(fn);
    const index = this.#indices.get(fn);
    if (index !== undefined) return { kind: "node", node: index };
    const requireOf = knownRequires.get(fn);
    if (requireOf !== undefined) return { kind: "require", parentUrl: requireOf };
    if (types.isProxy(fn)) this.#fail("a Proxy cannot be sent");
    const source = Function.prototype.toString.call(fn);
    if (isNameWrapper(fn, source)) return { kind: "builtin", path: ["__name"] };
    const intrinsic = findIntrinsic(fn);
    if (intrinsic !== null) return intrinsic;
    if (/\{\s*\[native code\]\s*\}$/.test(source)) {
      this.#fail(
        fn.name.startsWith("bound ")
          ? "a bound function cannot be sent; use an arrow function that calls it"
          : "a native function cannot be sent",
      );
    }
    const origin = this.#originOf(fn);
    const exported = exportOf(fn, origin, this.#mainUrls);
    if (exported !== null && origin.url !== null) {
      const ref = { specifier: origin.url, parentUrl: null, via: exported.via };
      return { kind: "module", ref, exportName: exported.exportName, interop: "none" };
    }
    return this.#captureBySource(fn, origin);
  }

  #originOf(fn: AnyFunction): Origin {
    try {
      const origin = originOf(fn);
      if (origin !== null) return origin;
    } catch (error) {
      if (error instanceof SourceProblem) this.#fail(error.message);
      throw error;
    }
    return this.#fail("V8 knows no source for it");
  }

  #captureBySource(fn: AnyFunction, origin: Origin): Capture {
    this.#checkLexical(origin);
    const index = this.#reserve(fn);
    const draft: Draft = {
      index,
      fn,
      origin,
      variables: [],
      extras: [],
      properties: [],
      prototypeProperties: [],
    };
    this.#drafts.push(draft);
    this.#captureVariables(draft);
    this.#captureExtras(draft);
    draft.properties = this.#captureProperties(draft);
    draft.prototypeProperties = this.#capturePrototype(draft);
    return { kind: "node", node: index };
  }

  #checkLexical({ analysis }: Origin): void {
    for (const what of analysis.lexical) {
      if (what === "super")
        this.#fail("it uses `super` outside of its class; ship the class instead");
      this.#fail(`it uses \`${what}\` of the function or module around it`);
    }
  }

  #captureVariables(draft: Draft): void {
    const { inspection } = draft.origin;
    const { scopes } = inspection;
    const environments = this.#environments.identify(inspection, this.#owner);
    for (const free of draft.origin.analysis.names.values()) {
      const depth = scopes.findIndex((scope) => Object.hasOwn(scope.variables, free.name));
      if (depth === -1) {
        this.#checkGlobal(free);
        continue;
      }
      const capture = this.#at(
        free.name,
        () => this.#captureVariable(free, depth, draft.origin),
        draft,
      );
      if (capture === null) continue;
      draft.variables.push({ free, environment: environments[depth] ?? -1, capture });
    }
  }

  /** A name outside of all scopes is a global, unless it was a local that only the class body saw. */
  #checkGlobal(free: FreeName): void {
    if (free.eager && !(free.name in globalThis)) {
      this.#fail(`"${free.name}" is needed to build the class again and is out of scope`);
    }
  }

  #captureVariable(free: FreeName, depth: number, origin: Origin): Capture | null {
    const scope = origin.inspection.scopes[depth];
    const value = scope?.variables[free.name];
    if (scope === undefined) return null;
    const own = captureModuleLocal(free.name, value, origin);
    if (own !== null) return own;
    const imported = importedCapture(free.name, value, scope, origin, this.#mainUrls);
    if (imported !== null) {
      noteErrorClass(value);
      return imported;
    }
    const exported = this.#exportedVariable(free.name, value, scope.type, origin);
    if (exported !== null) return exported;
    if (free.name === "exports" && isPlainContainer(value))
      return this.#captureOwnExports(free, value);
    if (free.name === "module" && value?.constructor?.name === "Module") {
      this.#fail("`module` cannot be sent; use `exports` or a variable");
    }
    return this.#captureValue(value);
  }

  /** `exports.name` inside the main script: only the members it uses go along. */
  #captureOwnExports(free: FreeName, exports: object): Capture {
    const index = this.#indices.get(exports);
    if (index !== undefined) return { kind: "node", node: index };
    const members = new Set<string>();
    for (const { member } of free.references) {
      if (member === null) return this.#captureContainer(exports);
      members.add(member);
    }
    const used = [...members].filter((key) => key in exports);
    const capture = this.#captureContainer(exports, used);
    this.#indices.delete(exports); // Another function may use other members.
    return capture;
  }

  /** State of a module that the worker can load itself stays with that module. */
  #exportedVariable(name: string, value: unknown, type: string, origin: Origin): Capture | null {
    const { url, table } = origin;
    if (type !== "Module" || url === null || !url.startsWith("file:")) return null;
    if (typeof value !== "object" || value === null || isMainUrl(url, this.#mainUrls)) return null;
    const exportName = table.exports.get(name);
    if (exportName === undefined) return null;
    const ref = { specifier: url, parentUrl: null, via: "import" } as const;
    return { kind: "module", ref, exportName, interop: "none" };
  }

  /** What the text needs besides its free names. */
  #captureExtras(draft: Draft): void {
    const { analysis, url } = draft.origin;
    if (analysis.superClass !== null) {
      const base: unknown = Object.getPrototypeOf(draft.fn);
      const capture = this.#at("extends", () => this.#captureValue(base));
      draft.extras.push({ name: superName, eager: true, capture });
    }
    if (analysis.importMeta.length > 0) {
      const capture: Capture = { kind: "builtin", path: ["import.meta", url ?? ""] };
      draft.extras.push({ name: importMetaName, eager: true, capture });
    }
  }

  #captureProperties({ fn, origin }: Draft): CapturedProperty[] {
    const { staticNames, staticFields } = origin.analysis;
    const properties: CapturedProperty[] = [];
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(fn))) {
      if (descriptor.enumerable !== true || !("value" in descriptor)) continue;
      const value: unknown = descriptor.value;
      // Static fields are set by the class body again; plain data keeps its present value.
      if (staticNames.has(key) && !(staticFields.has(key) && isPlainData(value))) continue;
      properties.push({ key, capture: this.#at(key, () => this.#captureValue(value)) });
    }
    return properties;
  }

  /** Methods put on the prototype, or replaced there, after the function was made. */
  #capturePrototype({ fn, origin }: Draft): CapturedProperty[] {
    const { analysis, source } = origin;
    const prototype: unknown = (fn as { prototype?: unknown }).prototype;
    if (typeof prototype !== "object" || prototype === null) return [];
    if (analysis.form !== "class" && analysis.form !== "function") return [];
    const properties: CapturedProperty[] = [];
    for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (key === "constructor" || !("value" in descriptor)) continue;
      const value: unknown = descriptor.value;
      const written =
        typeof value === "function" && source.includes(Function.prototype.toString.call(value));
      if (analysis.form === "class" && written) continue;
      properties.push({
        key,
        capture: this.#at(`prototype.${key}`, () => this.#captureValue(value)),
      });
    }
    return properties;
  }

  /** Turns drafts into nodes, and variables that are shared and written into cells. */
  #finish(): void {
    const cells = this.#findCells();
    for (const draft of this.#drafts) {
      const { origin } = draft;
      const edits: Edit[] = standingEdits(origin.source, origin.analysis);
      const captured: CapturedVariable[] = [...draft.extras];
      for (const { free, environment, capture } of draft.variables) {
        const cell = cells.get(`${environment}:${free.name}`);
        if (cell === undefined) {
          captured.push({ name: free.name, eager: free.eager, capture });
          continue;
        }
        const name = cellName(cell);
        for (const reference of free.references) edits.push(cellEdit(free.name, reference, name));
        captured.push({ name, eager: free.eager, capture: { kind: "node", node: cell } });
      }
      this.#nodes[draft.index] = functionNode(draft, edits, captured);
    }
  }

  #findCells(): Map<string, number> {
    const uses = new Map<string, { count: number; assigned: boolean; capture: Capture }>();
    for (const { variables } of this.#drafts) {
      for (const { free, environment, capture } of variables) {
        if (environment === -1) continue;
        const key = `${environment}:${free.name}`;
        const use = uses.get(key) ?? { count: 0, assigned: false, capture };
        use.count += 1;
        use.assigned ||= free.assigned;
        uses.set(key, use);
      }
    }
    const cells = new Map<string, number>();
    for (const [key, { count, assigned, capture }] of uses) {
      if (count < 2 || !assigned) continue;
      cells.set(key, this.#nodes.length);
      this.#nodes.push({ type: "cell", capture });
    }
    return cells;
  }
}

function functionNode(
  draft: Draft,
  edits: readonly Edit[],
  captured: CapturedVariable[],
): FunctionNode {
  const { fn, origin, properties, prototypeProperties } = draft;
  const anchors = anchorsOf(origin);
  const offsets = (anchors ?? []).filter((_, index) => index % 3 === 0);
  const edited = applyEdits(origin.source, edits, offsets);
  const { line, column, strict, url: sourceUrl } = origin;
  return {
    type: "function",
    name: typeof fn.name === "string" ? fn.name : "",
    form: origin.analysis.form,
    source: edited.source,
    strict,
    sourceUrl,
    line,
    column,
    anchors:
      anchors?.map((item, index) => (index % 3 === 0 ? (edited.offsets[index / 3] ?? 0) : item)) ??
      null,
    captured,
    properties,
    prototypeProperties,
  };
}

/** The names that Node's module wrapper defines, and whole modules reached by `require`. */
function captureModuleLocal(name: string, value: unknown, origin: Origin): Capture | null {
  const { url } = origin;
  const isRequire = name === "require" && typeof value === "function" && "resolve" in value;
  if (isRequire && url?.startsWith("file:") === true) {
    return { kind: "require", parentUrl: withoutQuery(url) };
  }
  if (name !== "exports" || typeof value !== "object" || value === null) return null;
  const path = fileOfExports(value, url);
  if (path === null || url === null || isMainUrl(url, [])) return null;
  const ref = { specifier: withoutQuery(url), parentUrl: null, via: "require" } as const;
  return { kind: "module", ref, exportName: "*", interop: "none" };
}

/** esbuild's `__name(fn, "name")`, whatever it is called after minifying. */
function isNameWrapper(fn: AnyFunction, source: string): boolean {
  if (fn.length !== 2 || source.length > 120) return false;
  return /^\((\w+),\s*(\w+)\)\s*=>\s*[\w.]+\(\1,\s*"name",\s*\{\s*value(:\s*\2)?,\s*configurable:\s*(true|!0)\s*\}\)$/.test(
    source,
  );
}
