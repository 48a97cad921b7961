// SPDX-License-Identifier: Apache-2.0
// Nodes of a lazy graph: what `f.bind(...)` gives. Plain data; nothing runs before the graph does.

import type { ObjectRef } from "../object/ref.ts";

declare const valueBrand: unique symbol;

/** What a node makes a ref with. */
export interface Bindable {
  remote(...args: unknown[]): unknown;
}

/** A value of type T that a run of the graph will have. */
export class GraphNode<out T = unknown> {
  /** Only for the type checker. */
  declare readonly [valueBrand]: T;
  /** Null: an input of the graph. */
  readonly target: Bindable | null;
  readonly args: readonly unknown[];
  /** Name of the input; null: the input as a whole. */
  readonly input: PropertyKey | null;

  constructor(target: Bindable | null, args: readonly unknown[], input: PropertyKey | null = null) {
    this.target = target;
    this.args = args;
    this.input = input;
  }
}

/** A parameter of `bind`: the value, a ref, or a node. */
export type BindArg<T> = T | ObjectRef<T> | GraphNode<T>;
/** Parameters of `bind`. */
export type BindArgs<A extends readonly unknown[]> = { [K in keyof A]: BindArg<A[K]> };
