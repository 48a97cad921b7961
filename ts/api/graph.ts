// SPDX-License-Identifier: Apache-2.0
// Lazy graphs of calls: built once, run many times, each with its own input.
//
// A run submits every node once, in an order in which arguments come first, and gives refs of the ends at once; what lies
// between is freed as soon as nobody needs it.

import { makeError } from "../base/errors.ts";
import { GraphNode } from "../core/graph-node.ts";
import { ObjectRef } from "../object/ref.ts";
import { get } from "./objects.ts";

/** The input of a graph while it is built: its members are nodes. */
export type GraphInput<I> = { readonly [K in keyof I]: GraphNode<I[K]> };

/** What a build function returns: one node, or a tuple, array or record of nodes. */
export type GraphEnds =
  | GraphNode<unknown>
  | readonly GraphNode<unknown>[]
  | { readonly [name: string]: GraphNode<unknown> };

/** The value of a node, or of each node. */
export type GraphValue<E> =
  E extends GraphNode<infer T>
    ? Awaited<T>
    : { -readonly [K in keyof E]: E[K] extends GraphNode<infer T> ? Awaited<T> : never };

/** The ref of a node, or of each node. */
export type GraphRefs<E> =
  E extends GraphNode<infer T>
    ? ObjectRef<Awaited<T>>
    : { -readonly [K in keyof E]: E[K] extends GraphNode<infer T> ? ObjectRef<Awaited<T>> : never };

/** A graph: `graph(($: GraphInput<{ x: number }>) => g.bind(f.bind($.x)))`. */
export class Graph<I, E extends GraphEnds> implements AsyncDisposable {
  readonly #ends: E;
  readonly #names: ReadonlySet<PropertyKey>;

  /** @internal */
  constructor(ends: E, names: ReadonlySet<PropertyKey>) {
    this.#ends = ends;
    this.#names = names;
  }

  /** Submits all calls of one run; refs of the ends, at once. Throws when the input lacks a member that is used. */
  execute(input: I): GraphRefs<E> {
    for (const name of this.#names)
      if (typeof input !== "object" || input === null || !(name in input))
        throw makeError(
          "INVALID_ARGUMENT",
          `the graph uses the input "${String(name)}", which is missing`,
        );
    const made = new Map<GraphNode, ObjectRef | unknown>();
    const ends = this.#ends as GraphEnds;
    const refOf = (node: GraphNode): ObjectRef => {
      const ref = submit(node, input, made);
      if (ref instanceof ObjectRef) return ref;
      throw makeError("INVALID_ARGUMENT", "a graph ends in calls, not in its inputs or in streams");
    };
    if (ends instanceof GraphNode) return refOf(ends) as GraphRefs<E>;
    if (Array.isArray(ends)) return ends.map(refOf) as GraphRefs<E>;
    return Object.fromEntries(
      Object.entries(ends).map(([name, node]) => [name, refOf(node)]),
    ) as GraphRefs<E>;
  }

  /** Runs the graph: the values of its ends. */
  async run(input: I): Promise<GraphValue<E>> {
    const refs = this.execute(input);
    const value = await get(refs as ObjectRef<unknown>);
    return value as GraphValue<E>;
  }

  /** The same graph, to be run often. Runs are ordinary calls; nothing is reserved. */
  async compile(): Promise<Graph<I, E>> {
    return graphOf<I, E>(this.#ends, this.#names);
  }

  /** Nothing is held between runs. */
  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Builds a graph. `build` runs once, now; it calls `bind` of remote functions and methods and returns the ends. */
export function graph<I, const E extends GraphEnds>(
  build: (input: GraphInput<I>) => E,
): Graph<I, E> {
  const nodes = new Map<PropertyKey, GraphNode>();
  const input = new Proxy({} as GraphInput<I>, {
    get(_target, name) {
      let node = nodes.get(name);
      if (node === undefined) {
        node = new GraphNode(null, [], name);
        nodes.set(name, node);
      }
      return node;
    },
  });
  const ends = build(input);
  const all = ends instanceof GraphNode ? [ends] : Object.values((ends ?? {}) as object);
  if (all.length === 0 || !all.every((one) => one instanceof GraphNode))
    throw makeError(
      "INVALID_ARGUMENT",
      "graph: the function must return what bind() gave, or a tuple, array or record of it",
    );
  return graphOf<I, E>(ends, new Set(nodes.keys()));
}

// Outside of the class: the bundler would give a class that names itself another name.
function graphOf<I, E extends GraphEnds>(ends: E, names: ReadonlySet<PropertyKey>): Graph<I, E> {
  return new Graph<I, E>(ends, names);
}

function submit(node: GraphNode, input: unknown, made: Map<GraphNode, unknown>): unknown {
  if (node.target === null)
    return (input as Record<PropertyKey, unknown>)[node.input as PropertyKey];
  if (made.has(node)) return made.get(node);
  const args = node.args.map((arg) => (arg instanceof GraphNode ? submit(arg, input, made) : arg));
  const ref = node.target.remote(...args);
  made.set(node, ref);
  return ref;
}
