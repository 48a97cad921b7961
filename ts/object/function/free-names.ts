// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the free names of a piece of JavaScript: which identifiers it takes from outside, where, and
 * whether it writes them. Pure: an acorn tree in, plain data out.
 *
 * Invariants: 1. references are resolved after the whole tree is read, so hoisting needs no second
 * pass; 2. a name is free only if no enclosing scope of the reference inside the tree declares it.
 */

/** An acorn node, read structurally. */
export interface AstNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** One use of a free name. `member` is `b` in `name.b`. */
export interface Reference {
  readonly start: number;
  readonly end: number;
  readonly shorthand: boolean;
  readonly callee: boolean;
  readonly member: string | null;
}

export interface FreeName {
  readonly name: string;
  readonly references: readonly Reference[];
  readonly assigned: boolean;
  /** Needed while the root class itself is evaluated. */
  readonly eager: boolean;
}

/** What the root takes from the enclosing function besides names. */
export type Lexical = "this" | "super" | "arguments" | "new.target";

export interface FreeNames {
  readonly names: ReadonlyMap<string, FreeName>;
  readonly lexical: ReadonlySet<Lexical>;
  readonly importMeta: readonly { readonly start: number; readonly end: number }[];
}

interface LexicalScope {
  readonly parent: LexicalScope | null;
  readonly declared: Set<string>;
  readonly holdsVar: boolean;
}

/** What the surrounding syntax provides at a point of the tree. */
interface Surrounding {
  readonly scope: LexicalScope;
  readonly provides: ReadonlySet<Lexical>;
  readonly eager: boolean;
}

interface Use extends Reference {
  readonly name: string;
  readonly scope: LexicalScope;
  readonly eager: boolean;
  readonly write: boolean;
  readonly argumentsProvided: boolean;
}

interface UseFlags {
  readonly write?: boolean;
  readonly shorthand?: boolean;
  readonly callee?: boolean;
  readonly member?: string | null;
}

const nothing: ReadonlySet<Lexical> = new Set();
const functionProvides: ReadonlySet<Lexical> = new Set<Lexical>([
  "this",
  "arguments",
  "new.target",
]);
const methodProvides: ReadonlySet<Lexical> = new Set<Lexical>([...functionProvides, "super"]);
const fieldProvides = methodProvides;

export function isNode(value: unknown): value is AstNode {
  return typeof value === "object" && value !== null && typeof (value as AstNode).type === "string";
}

/** The child of `node` under `key`, when it is a node. */
export function child(node: AstNode, key: string): AstNode | null {
  const value = node[key];
  return isNode(value) ? value : null;
}

/** The children of `node` under `key`, holes left out. */
export function children(node: AstNode, key: string): AstNode[] {
  const value = node[key];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** Reads `root`; `eager` says that it is a class evaluated where it stands. */
export function findFreeNames(root: AstNode, skip: AstNode | null, eager: boolean): FreeNames {
  return new FreeNameWalk(skip).run(root, eager);
}

class FreeNameWalk {
  readonly #skip: AstNode | null;
  readonly #uses: Use[] = [];
  readonly #lexical = new Set<Lexical>();
  readonly #importMeta: { start: number; end: number }[] = [];

  constructor(skip: AstNode | null) {
    this.#skip = skip;
  }

  run(root: AstNode, eager: boolean): FreeNames {
    const scope = newScope(null, true);
    this.#walk(root, { scope, provides: nothing, eager });
    return { names: this.#resolve(), lexical: this.#lexical, importMeta: this.#importMeta };
  }

  #resolve(): Map<string, FreeName> {
    const names = new Map<
      string,
      { name: string; references: Reference[]; assigned: boolean; eager: boolean }
    >();
    for (const use of this.#uses) {
      if (isDeclared(use.scope, use.name)) continue;
      if (use.name === "arguments") {
        if (!use.argumentsProvided) this.#lexical.add("arguments");
        continue;
      }
      let entry = names.get(use.name);
      if (entry === undefined) {
        entry = { name: use.name, references: [], assigned: false, eager: false };
        names.set(use.name, entry);
      }
      entry.references.push({
        start: use.start,
        end: use.end,
        shorthand: use.shorthand,
        callee: use.callee,
        member: use.member,
      });
      entry.assigned ||= use.write;
      entry.eager ||= use.eager;
    }
    return names;
  }

  #need(what: Lexical, at: Surrounding): void {
    if (!at.provides.has(what)) this.#lexical.add(what);
  }

  #use(node: AstNode, at: Surrounding, flags: UseFlags = {}): void {
    this.#uses.push({
      name: String(node["name"]),
      start: node.start,
      end: node.end,
      scope: at.scope,
      eager: at.eager,
      write: flags.write ?? false,
      shorthand: flags.shorthand ?? false,
      callee: flags.callee ?? false,
      member: flags.member ?? null,
      argumentsProvided: at.provides.has("arguments"),
    });
  }

  #walkAll(nodes: readonly AstNode[], at: Surrounding): void {
    for (const node of nodes) this.#walk(node, at);
  }

  #walkChildren(node: AstNode, at: Surrounding): void {
    for (const key of Object.keys(node)) {
      const value = node[key];
      if (isNode(value)) this.#walk(value, at);
      else if (Array.isArray(value)) this.#walkAll(value.filter(isNode), at);
    }
  }

  #walkChild(node: AstNode, key: string, at: Surrounding): void {
    const value = child(node, key);
    if (value !== null) this.#walk(value, at);
  }

  #walk(node: AstNode, at: Surrounding): void {
    if (node === this.#skip) return;
    switch (node.type) {
      case "Identifier":
        return this.#use(node, at);
      case "ThisExpression":
        return this.#need("this", at);
      case "Super":
        return this.#need("super", at);
      case "MetaProperty":
        return this.#walkMeta(node, at);
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        return this.#walkFunction(node, at, functionProvides);
      case "ClassDeclaration":
      case "ClassExpression":
        return this.#walkClass(node, at);
      case "VariableDeclaration":
        return this.#walkVariables(node, at);
      case "BlockStatement":
      case "SwitchStatement":
      case "ForStatement":
      case "CatchClause":
        return this.#walkBlock(node, at);
      case "ForInStatement":
      case "ForOfStatement":
        return this.#walkForEach(node, at);
      case "LabeledStatement":
        return this.#walkChild(node, "body", at);
      case "BreakStatement":
      case "ContinueStatement":
        return undefined;
      case "MemberExpression":
        return this.#walkMember(node, at);
      case "Property":
        return this.#walkProperty(node, at);
      case "AssignmentExpression":
        this.#walkTarget(child(node, "left"), at);
        return this.#walkChild(node, "right", at);
      case "UpdateExpression":
        return this.#walkTarget(child(node, "argument"), at);
      case "CallExpression":
      case "TaggedTemplateExpression":
        return this.#walkCall(node, at);
      default:
        return this.#walkChildren(node, at);
    }
  }

  #walkMeta(node: AstNode, at: Surrounding): void {
    if (child(node, "meta")?.["name"] === "import") {
      this.#importMeta.push({ start: node.start, end: node.end });
    } else {
      this.#need("new.target", at);
    }
  }

  #walkMember(node: AstNode, at: Surrounding): void {
    const object = child(node, "object");
    const property = child(node, "property");
    const computed = node["computed"] === true;
    if (object?.type === "Identifier") {
      const member = !computed && property?.type === "Identifier" ? String(property["name"]) : null;
      this.#use(object, at, { member });
    } else if (object !== null) {
      this.#walk(object, at);
    }
    if (computed && property !== null) this.#walk(property, at);
  }

  #walkCall(node: AstNode, at: Surrounding): void {
    const key = node.type === "CallExpression" ? "callee" : "tag";
    const callee = child(node, key);
    if (callee?.type === "Identifier") this.#use(callee, at, { callee: true });
    else if (callee !== null && isFunctionNode(callee))
      this.#walkFunction(callee, at, functionProvides, true);
    else if (callee !== null) this.#walk(callee, at);
    this.#walkAll(children(node, "arguments"), at);
    this.#walkChild(node, "quasi", at);
  }

  #walkProperty(node: AstNode, at: Surrounding): void {
    if (node["computed"] === true) this.#walkChild(node, "key", at);
    const value = child(node, "value");
    if (value === null) return;
    const isMethod = node["method"] === true || node["kind"] === "get" || node["kind"] === "set";
    if (isMethod) this.#walkFunction(value, at, methodProvides);
    else if (node["shorthand"] === true && value.type === "Identifier") {
      this.#use(value, at, { shorthand: true });
    } else this.#walk(value, at);
  }

  #walkFunction(
    node: AstNode,
    at: Surrounding,
    provides: ReadonlySet<Lexical>,
    calledAtOnce = false,
  ): void {
    const id = child(node, "id");
    let outer = at.scope;
    if (id !== null && node.type === "FunctionDeclaration") outer.declared.add(String(id["name"]));
    else if (id !== null) {
      outer = newScope(outer, false);
      outer.declared.add(String(id["name"]));
    }
    const isArrow = node.type === "ArrowFunctionExpression";
    const scope = newScope(outer, true);
    const inside: Surrounding = {
      scope,
      provides: isArrow ? at.provides : provides,
      eager: at.eager && calledAtOnce,
    };
    for (const parameter of children(node, "params")) this.#declare(parameter, scope, inside);
    const body = child(node, "body");
    if (body?.type === "BlockStatement") this.#walkAll(children(body, "body"), inside);
    else if (body !== null) this.#walk(body, inside);
  }

  #walkClass(node: AstNode, at: Surrounding): void {
    const id = child(node, "id");
    if (id !== null && node.type === "ClassDeclaration") at.scope.declared.add(String(id["name"]));
    const scope = newScope(at.scope, false);
    if (id !== null) scope.declared.add(String(id["name"]));
    const inside: Surrounding = { ...at, scope };
    this.#walkAll(children(node, "decorators"), at);
    this.#walkChild(node, "superClass", inside);
    const body = child(node, "body");
    for (const member of body === null ? [] : children(body, "body")) {
      this.#walkClassMember(member, inside);
    }
  }

  #walkClassMember(member: AstNode, at: Surrounding): void {
    this.#walkAll(children(member, "decorators"), at);
    if (member["computed"] === true) this.#walkChild(member, "key", at);
    if (member.type === "StaticBlock") {
      const inside = { ...at, scope: newScope(at.scope, true), provides: fieldProvides };
      return this.#walkAll(children(member, "body"), inside);
    }
    const value = child(member, "value");
    if (value === null) return;
    if (member.type === "MethodDefinition") return this.#walkFunction(value, at, methodProvides);
    const eager = at.eager && member["static"] === true;
    this.#walk(value, { scope: newScope(at.scope, true), provides: fieldProvides, eager });
  }

  #walkVariables(node: AstNode, at: Surrounding): void {
    const scope = node["kind"] === "var" ? varScope(at.scope) : at.scope;
    for (const declarator of children(node, "declarations")) {
      const id = child(declarator, "id");
      if (id !== null) this.#declare(id, scope, at);
      this.#walkChild(declarator, "init", at);
    }
  }

  #walkBlock(node: AstNode, at: Surrounding): void {
    const inside = { ...at, scope: newScope(at.scope, false) };
    const parameter = child(node, "param");
    if (parameter !== null) this.#declare(parameter, inside.scope, inside);
    for (const key of Object.keys(node)) {
      if (key === "param") continue;
      const value = node[key];
      if (isNode(value)) this.#walk(value, inside);
      else if (Array.isArray(value)) this.#walkAll(value.filter(isNode), inside);
    }
  }

  #walkForEach(node: AstNode, at: Surrounding): void {
    const inside = { ...at, scope: newScope(at.scope, false) };
    const left = child(node, "left");
    if (left?.type === "VariableDeclaration") this.#walkVariables(left, inside);
    else this.#walkTarget(left, inside);
    this.#walkChild(node, "right", inside);
    this.#walkChild(node, "body", inside);
  }

  /** Declares the names of a binding pattern, and reads its defaults and computed keys. */
  #declare(pattern: AstNode, scope: LexicalScope, at: Surrounding): void {
    switch (pattern.type) {
      case "Identifier":
        scope.declared.add(String(pattern["name"]));
        return;
      case "AssignmentPattern": {
        const left = child(pattern, "left");
        if (left !== null) this.#declare(left, scope, at);
        return this.#walkChild(pattern, "right", at);
      }
      case "ArrayPattern":
        for (const element of children(pattern, "elements")) this.#declare(element, scope, at);
        return;
      case "ObjectPattern":
        for (const property of children(pattern, "properties")) this.#declare(property, scope, at);
        return;
      case "Property": {
        if (pattern["computed"] === true) this.#walkChild(pattern, "key", at);
        const value = child(pattern, "value");
        if (value !== null) this.#declare(value, scope, at);
        return;
      }
      case "RestElement": {
        const argument = child(pattern, "argument");
        if (argument !== null) this.#declare(argument, scope, at);
        return;
      }
      default:
        this.#walk(pattern, at);
    }
  }

  /** Walks what stands left of an assignment. */
  #walkTarget(target: AstNode | null, at: Surrounding, shorthand = false): void {
    if (target === null) return;
    switch (target.type) {
      case "Identifier":
        return this.#use(target, at, { write: true, shorthand });
      case "AssignmentPattern":
        this.#walkTarget(child(target, "left"), at, shorthand);
        return this.#walkChild(target, "right", at);
      case "ArrayPattern":
        for (const element of children(target, "elements")) this.#walkTarget(element, at);
        return;
      case "ObjectPattern":
        for (const property of children(target, "properties")) this.#walkTarget(property, at);
        return;
      case "Property":
        if (target["computed"] === true) this.#walkChild(target, "key", at);
        return this.#walkTarget(child(target, "value"), at, target["shorthand"] === true);
      case "RestElement":
        return this.#walkTarget(child(target, "argument"), at);
      default:
        return this.#walk(target, at);
    }
  }
}

function isFunctionNode(node: AstNode): boolean {
  return node.type === "FunctionExpression" || node.type === "ArrowFunctionExpression";
}

function newScope(parent: LexicalScope | null, holdsVar: boolean): LexicalScope {
  return { parent, declared: new Set(), holdsVar };
}

function varScope(scope: LexicalScope): LexicalScope {
  let at = scope;
  while (!at.holdsVar && at.parent !== null) at = at.parent;
  return at;
}

function isDeclared(scope: LexicalScope, name: string): boolean {
  for (let at: LexicalScope | null = scope; at !== null; at = at.parent) {
    if (at.declared.has(name)) return true;
  }
  return false;
}
