// SPDX-License-Identifier: Apache-2.0
/**
 * Reads what the top level of a module imports, requires and exports, from its running text.
 *
 * Pure: text in, tables out. It looks at syntax only; the caller proves each hit against the live
 * value before it relies on it.
 */

import { type Options, parse } from "acorn";
import type { Interop } from "./descriptor.ts";
import { type AstNode, child, children, isNode } from "./free-names.ts";

/** `import { name as local } from "specifier"`; `*` for a namespace. */
export interface ImportBinding {
  readonly specifier: string;
  readonly exportName: string;
  /** `with { ... }`: such modules (JSON, for one) cannot be imported by name alone. */
  readonly hasAttributes: boolean;
}

/** `const local = wrap(require("specifier")).member`. */
export interface RequireBinding {
  readonly specifier: string;
  readonly member: string | null;
  readonly interop: Interop;
}

export interface ModuleTable {
  readonly isModule: boolean;
  readonly isStrict: boolean;
  readonly imports: ReadonlyMap<string, ImportBinding>;
  /** All candidates by local name: inner scopes may use a name again. */
  readonly requires: ReadonlyMap<string, readonly RequireBinding[]>;
  /** Local name to exported name. */
  readonly exports: ReadonlyMap<string, string>;
  /** Exported function and class declarations: where they start, and the exported name. */
  readonly declarations: ReadonlyMap<number, string>;
}

const emptyTable: ModuleTable = {
  isModule: false,
  isStrict: false,
  imports: new Map(),
  requires: new Map(),
  exports: new Map(),
  declarations: new Map(),
};

const tables = new WeakMap<object, ModuleTable>();

/** The table of a module; `owner` is what the result is cached under. */
export function moduleTable(owner: { readonly text: string | null }): ModuleTable {
  let table = tables.get(owner);
  if (table === undefined) {
    table = owner.text === null ? emptyTable : readTable(owner.text);
    tables.set(owner, table);
  }
  return table;
}

export function readTable(text: string): ModuleTable {
  const program = parseText(text);
  if (program === null) return emptyTable;
  const body = children(program, "body");
  const isModule = body.some((node) => /^(Import|Export)/.test(node.type));
  const requires = new Map<string, RequireBinding[]>();
  if (text.includes("require(")) collectRequires(program, requires);
  return {
    isModule,
    isStrict: isModule || hasUseStrict(program),
    imports: readImports(body),
    requires,
    ...readExports(body),
  };
}

function parseText(text: string): AstNode | null {
  const options: Options = {
    ecmaVersion: "latest",
    sourceType: "module",
    allowHashBang: true,
    allowReturnOutsideFunction: true,
    checkPrivateFields: false,
  };
  for (const sourceType of ["module", "script"] as const) {
    try {
      return parse(text, { ...options, sourceType }) as unknown as AstNode;
    } catch {
      // Sloppy scripts do not parse as modules; sources in another language parse as neither.
    }
  }
  return null;
}

/** A directive at the top, or at the top of the one function that wraps everything. */
function hasUseStrict(program: AstNode): boolean {
  return children(program, "body").some((node) => node["directive"] === "use strict");
}

function readImports(body: readonly AstNode[]): Map<string, ImportBinding> {
  const imports = new Map<string, ImportBinding>();
  for (const node of body) {
    const statement = child(node, "declaration") ?? node;
    if (statement.type === "VariableDeclaration") noteAwaitedImports(statement, imports);
    if (node.type !== "ImportDeclaration") continue;
    const specifier = String(child(node, "source")?.["value"]);
    const hasAttributes = children(node, "attributes").length > 0;
    for (const item of children(node, "specifiers")) {
      const local = nameOf(child(item, "local"));
      let exportName = "default";
      if (item.type === "ImportNamespaceSpecifier") exportName = "*";
      else if (item.type === "ImportSpecifier") exportName = nameOf(child(item, "imported"));
      imports.set(local, { specifier, exportName, hasAttributes });
    }
  }
  return imports;
}

/** `const name = await import("x")` at the top is an import that cannot change. */
function noteAwaitedImports(statement: AstNode, into: Map<string, ImportBinding>): void {
  if (statement["kind"] !== "const") return;
  for (const declarator of children(statement, "declarations")) {
    const awaited = child(declarator, "init");
    const call = awaited?.type === "AwaitExpression" ? child(awaited, "argument") : null;
    const specifier = call?.type === "ImportExpression" ? child(call, "source")?.["value"] : null;
    const id = child(declarator, "id");
    if (call === null || id === null || typeof specifier !== "string") continue;
    const hasAttributes = child(call, "options") !== null;
    if (id.type === "Identifier")
      into.set(nameOf(id), { specifier, exportName: "*", hasAttributes });
    for (const property of children(id, "properties")) {
      const value = child(property, "value");
      if (property["computed"] === true || value?.type !== "Identifier") continue;
      into.set(nameOf(value), {
        specifier,
        exportName: nameOf(child(property, "key")),
        hasAttributes,
      });
    }
  }
}

function readExports(body: readonly AstNode[]): Pick<ModuleTable, "exports" | "declarations"> {
  const exports = new Map<string, string>();
  const declarations = new Map<number, string>();
  for (const node of body) {
    const declaration = child(node, "declaration");
    if (node.type === "ExportDefaultDeclaration" && declaration !== null) {
      const id = declaration.type === "Identifier" ? declaration : child(declaration, "id");
      if (id !== null) exports.set(nameOf(id), "default");
      else if (isDeclaration(declaration)) declarations.set(declaration.start, "default");
    } else if (node.type === "ExportNamedDeclaration" && child(node, "source") === null) {
      if (declaration !== null)
        for (const name of declaredNames(declaration)) exports.set(name, name);
      for (const item of children(node, "specifiers")) {
        exports.set(nameOf(child(item, "local")), nameOf(child(item, "exported")));
      }
    }
  }
  for (const node of body) {
    const declaration = child(node, "declaration") ?? node;
    const exportName = isDeclaration(declaration)
      ? exports.get(nameOf(child(declaration, "id")))
      : undefined;
    if (exportName !== undefined) declarations.set(declaration.start, exportName);
  }
  return { exports, declarations };
}

function isDeclaration(node: AstNode): boolean {
  return node.type === "FunctionDeclaration" || node.type === "ClassDeclaration";
}

function declaredNames(declaration: AstNode): string[] {
  const id = child(declaration, "id");
  if (id !== null) return [nameOf(id)];
  const names: string[] = [];
  for (const declarator of children(declaration, "declarations")) {
    const target = child(declarator, "id");
    if (target?.type === "Identifier") names.push(nameOf(target));
  }
  return names;
}

function collectRequires(root: AstNode, into: Map<string, RequireBinding[]>): void {
  const pending: AstNode[] = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node.type === "VariableDeclarator") noteRequire(node, into);
    for (const value of Object.values(node)) {
      if (isNode(value)) pending.push(value);
      else if (Array.isArray(value)) pending.push(...value.filter(isNode));
    }
  }
}

function noteRequire(declarator: AstNode, into: Map<string, RequireBinding[]>): void {
  const id = child(declarator, "id");
  const init = child(declarator, "init");
  const required = init === null ? null : readRequire(init);
  if (id === null || required === null) return;
  const add = (name: string, binding: RequireBinding): void => {
    const known = into.get(name);
    if (known === undefined) into.set(name, [binding]);
    else known.push(binding);
  };
  if (id.type === "Identifier") add(nameOf(id), required);
  if (id.type !== "ObjectPattern" || required.member !== null) return;
  for (const property of children(id, "properties")) {
    const value = child(property, "value");
    if (property["computed"] === true || value?.type !== "Identifier") continue;
    add(nameOf(value), { ...required, member: nameOf(child(property, "key")) });
  }
}

/** Reads `require("x")`, `require("x").y` and the wrappers of esbuild, TypeScript and Babel. */
function readRequire(node: AstNode): RequireBinding | null {
  if (node.type === "MemberExpression" && node["computed"] !== true) {
    const object = child(node, "object");
    const inner = object === null ? null : readRequire(object);
    if (inner === null || inner.member !== null) return null;
    return { ...inner, member: nameOf(child(node, "property")) };
  }
  if (node.type !== "CallExpression") return null;
  const callee = child(node, "callee");
  const [first, second] = children(node, "arguments");
  if (callee === null || first === undefined) return null;
  if (callee.type === "Identifier" && nameOf(callee) === "require") {
    if (typeof first["value"] !== "string") return null;
    return { specifier: first["value"], member: null, interop: "none" };
  }
  const interop = interopOf(calleeName(callee), second !== undefined);
  const inner = interop === null ? null : readRequire(first);
  return inner === null || interop === null ? null : { ...inner, interop };
}

function interopOf(name: string, nodeMode: boolean): Interop | null {
  if (name === "__toESM") return nodeMode ? "node" : "esm";
  if (name === "__importStar" || name === "_interopRequireWildcard") return "esm";
  if (name === "__importDefault" || name === "_interopRequireDefault") return "default";
  return null;
}

function calleeName(callee: AstNode): string {
  if (callee.type === "Identifier") return nameOf(callee);
  if (callee.type === "MemberExpression") return nameOf(child(callee, "property"));
  const last =
    callee.type === "SequenceExpression" ? children(callee, "expressions").at(-1) : undefined;
  return last === undefined ? "" : calleeName(last);
}

function nameOf(node: AstNode | null): string {
  return String(node?.["name"] ?? node?.["value"] ?? "");
}
