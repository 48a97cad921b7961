// SPDX-License-Identifier: Apache-2.0
/**
 * Remembers what `reviveFunction` made, so that a worker can ship it again without asking V8.
 *
 * Owns three weak maps and nothing else: entries go with the objects.
 */

import type { FunctionNode, ModuleRef } from "./descriptor.ts";

/** The node a revived function was made from. */
export const revivedNodes = new WeakMap<object, FunctionNode>();

/** Module namespaces (and `module.exports` objects) handed to revived functions. */
export const knownNamespaces = new WeakMap<object, ModuleRef>();

/** `require` functions handed to revived functions, by the file they belong to. */
export const knownRequires = new WeakMap<object, string>();
