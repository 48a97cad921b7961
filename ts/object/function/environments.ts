// SPDX-License-Identifier: Apache-2.0
/**
 * Tells which scopes of different closures are one and the same environment.
 *
 * V8 hands out copies of scopes, so identity is inferred: same script, same parent, same names, same
 * values. A module's top scope is one by definition, and a scope that holds a function is told apart
 * by it. Where only plain values could tell (two counters that both stand at 0), closures count as
 * neighbours if one owner (an object, a function) holds them and they come from different places of
 * the source. This matters only to variables that are written after the snapshot.
 */

import type { Inspection, Scope } from "./inspect.ts";

interface Environment {
  readonly id: number;
  readonly parent: number;
  readonly scriptId: string;
  readonly scope: Scope;
  readonly owner: unknown;
  /** Places of the closures seen in it. */
  readonly sites: Set<string>;
}

export class Environments {
  readonly #known: Environment[] = [];

  /** Ids of a closure's scopes, in their order (innermost first). `owner` is what holds the closure. */
  identify({ scriptId, scopes, line, column }: Inspection, owner: unknown): number[] {
    const site = `${line}:${column}`;
    const ids: number[] = [];
    let parent = -1;
    for (const scope of [...scopes].reverse()) {
      const at = parent;
      let found = this.#known.find(
        (known) =>
          known.scriptId === scriptId &&
          known.parent === at &&
          known.scope.type === scope.type &&
          (isSingle(scope) ||
            (sameVariables(known.scope.variables, scope.variables) &&
              (holdsFunction(scope) || (known.owner === owner && !known.sites.has(site))))),
      );
      if (found === undefined) {
        found = { id: this.#known.length, parent, scriptId, scope, owner, sites: new Set() };
        this.#known.push(found);
      }
      found.sites.add(site);
      ids.unshift(found.id);
      parent = found.id;
    }
    return ids;
  }
}

function isSingle(scope: Scope): boolean {
  return scope.type === "Module" || scope.type === "Script";
}

function holdsFunction(scope: Scope): boolean {
  return Object.values(scope.variables).some((value) => typeof value === "function");
}

function sameVariables(a: Scope["variables"], b: Scope["variables"]): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => Object.hasOwn(b, name) && Object.is(a[name], b[name]));
}
