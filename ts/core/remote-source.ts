// SPDX-License-Identifier: Apache-2.0
// What a remote function or class is made of, apart from options: its target, its name, and the specs of it that lie in
// the store. Shared by all variants that options() makes.
//
// `key` names it in every process: a function that refers to itself travels as its key alone, so that the worker finds
// the spec that it was loaded from (remote-codec.ts).

import { createHash, randomBytes } from "node:crypto";
import { makeError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import type { Connection } from "./connection.ts";
import type { SpecContent, StoredSpec, Target } from "./specs.ts";

/** The specs of one connection. */
interface SpecTable {
  readonly connection: Connection;
  readonly stored: Map<string, StoredSpec>;
}

const byKey = new Map<string, RemoteSource>();

export class RemoteSource {
  readonly key: string;
  readonly name: string;
  #target: Target | null;
  #table: SpecTable | null = null;
  #identity: string | null;

  constructor(
    target: Target | null,
    name: string,
    key = randomBytes(12).toString("hex"),
    identity: string | null = null,
  ) {
    this.#target = target;
    this.name = name;
    this.key = key;
    this.#identity = identity;
  }

  /** What it is to every program: its module and export, or its name and code (without what it captures). */
  get identity(): string {
    if (this.#identity === null) {
      const { target } = this;
      const code = createHash("sha256");
      if (target.kind === "value") code.update(target.fn.toString());
      else if (target.kind === "module") code.update(`${target.module}#${target.exportName}`);
      else code.update(this.key);
      this.#identity = `${this.name} ${code.digest("hex").slice(0, 32)}`;
    }
    return this.#identity;
  }

  /** Takes over how its maker knows it. */
  named(identity: string | null): this {
    this.#identity = identity ?? this.#identity;
    return this;
  }

  /** What runs. For a source that came as a key: what this process was sent under that key. */
  get target(): Target {
    const target = this.targetOrNull;
    if (target === null)
      throw makeError(
        "INVALID_ARGUMENT",
        `the remote function ${this.name} did not come to this process with its code`,
      );
    return target;
  }

  get targetOrNull(): Target | null {
    if (this.#target === null) {
      const known = byKey.get(this.key);
      if (known !== undefined && known !== this) this.#target = known.targetOrNull;
    }
    return this.#target;
  }

  /** Makes a source findable by its key. */
  remember(): this {
    byKey.set(this.key, this);
    return this;
  }

  static known(key: string): RemoteSource | undefined {
    return byKey.get(key);
  }

  /** The spec of `id` for the workers of `place`: put, and registered when it is not there yet. */
  specOf(
    connection: Connection,
    id: string,
    place: string,
    content: SpecContent,
    register: (ref: ObjectRef, id: string) => StoredSpec,
  ): StoredSpec {
    if (this.#table?.connection !== connection) this.#table = { connection, stored: new Map() };
    const { stored } = this.#table;
    const registered = `${id} ${place}`;
    let spec = stored.get(registered);
    if (spec === undefined) {
      const same = stored.get(id);
      const ref = same === undefined ? connection.specs.put(this, content, id) : same.ref;
      spec = register(ref, id);
      stored.set(id, spec);
      stored.set(registered, spec);
    }
    return spec;
  }
}
