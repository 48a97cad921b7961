// SPDX-License-Identifier: Apache-2.0
/**
 * Tells which scopes of different closures are one and the same environment.
 *
 * V8 hands out copies of scopes, so identity is inferred: same script, same parent, same names, same
 * values (by identity). A module's top scope is one by definition. Two calls of one factory are
 * told apart by any captured value that differs; where all of them are equal primitives they count
 * as one, which matters only to variables that are written after the snapshot.
 */

import type { Scope } from "./inspect.ts";

interface Environment {
  readonly id: number;
  readonly parent: number;
  readonly scriptId: string;
  readonly scope: Scope;
}

export class Environments {
  readonly #known: Environment[] = [];

  /** Ids of `scopes`, in their order (innermost first). */
  identify(scriptId: string, scopes: readonly Scope[]): number[] {
    const ids: number[] = [];
    let parent = -1;
    for (const scope of [...scopes].reverse()) {
      const found = this.#known.find(
        (known) =>
          known.scriptId === scriptId &&
          known.parent === parent &&
          known.scope.type === scope.type &&
          (scope.type === "Module" || sameVariables(known.scope.variables, scope.variables)),
      );
      const id = found?.id ?? this.#known.length;
      if (found === undefined) this.#known.push({ id, parent, scriptId, scope });
      ids.unshift(id);
      parent = id;
    }
    return ids;
  }
}

function sameVariables(a: Scope["variables"], b: Scope["variables"]): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => Object.hasOwn(b, name) && Object.is(a[name], b[name]));
}
