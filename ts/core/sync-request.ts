// SPDX-License-Identifier: Apache-2.0
// What the classes over named things (locks, events, variables, topics) share: who they are, and requests that wait.

import { randomBytes } from "node:crypto";
import { InvalidOptionError, makeError } from "../base/errors.ts";
import { idFromBytes, idToBytes } from "../base/ids.ts";
import type { ObjectRef } from "../object/ref.ts";
import { checkOptions, checks } from "./checks.ts";
import type { Connection } from "./connection.ts";
import { connection } from "./context.ts";

type Fields = Record<string, unknown>;

/** Where a name is looked up. */
export interface NamedOptions {
  /** Names of one namespace are shared. Default: that of the runtime. */
  readonly namespace?: string;
}

/** How long to wait for something that is shared. */
export interface SyncWait {
  /** Milliseconds; 0 looks once. Default: no limit. */
  readonly timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal;
}

const waitChecks = {
  timeoutMs: checks.durationMs,
  signal: checks.signal,
  count: checks.whole(1),
};
const namedChecks = {
  namespace: checks.anyText,
  leaseMs: checks.positive,
  permits: checks.whole(1),
};

/** A thing with a name. */
export abstract class Named {
  readonly name: string;
  readonly namespace: string | null;
  readonly #kind: string;

  constructor(name: string, options: NamedOptions, kind: string) {
    if (typeof name !== "string" || name === "")
      throw new InvalidOptionError(`[invalid option] new ${kind}(name) takes a non-empty string.`);
    checkOptions(options, namedChecks, kind);
    this.#kind = kind;
    this.name = name;
    this.namespace = options.namespace ?? null;
  }

  /** @internal */
  protected fields(current: Connection, more: Fields): Fields {
    return {
      ns: `${this.#kind}:${this.namespace ?? current.place.namespace}`,
      name: this.name,
      ...more,
    };
  }

  /** @internal A request that is answered at once. */
  protected async ask(method: string, more: Fields = {}): Promise<Fields> {
    const current = connection();
    return current.request(method, this.fields(current, more));
  }

  /** @internal A request that may wait: with the time limit and the signal of its caller. */
  protected async askWaiting(
    method: string,
    more: Fields,
    options: SyncWait,
    holder = randomBytes(12).toString("hex"),
  ): Promise<Fields> {
    checkOptions(options, waitChecks, `${this.#kind}(${this.name})`);
    const { signal, timeoutMs } = options;
    signal?.throwIfAborted();
    const current = connection();
    const fields = this.fields(current, { ...more, holder, timeoutMs: timeoutMs ?? -1 });
    const withdraw = (): void =>
      void current
        .request("sync.withdraw", this.fields(current, { holder }))
        .catch(() => undefined);
    signal?.addEventListener("abort", withdraw, { once: true });
    const goOn = timeoutMs === 0 ? undefined : current.executor?.block();
    try {
      const answer = await current.request(method, fields);
      signal?.throwIfAborted();
      return answer;
    } finally {
      signal?.removeEventListener("abort", withdraw);
      goOn?.();
    }
  }

  /** @internal */
  protected late(what: string, options: SyncWait): Error {
    return makeError(
      "GET_TIMEOUT",
      `${this.#kind} "${this.name}" ${what} within ${options.timeoutMs ?? 0} ms`,
    );
  }
}

/** The ref of an id that came in an answer; null when the object is gone meanwhile. */
export function refOfAnswer(current: Connection, id: unknown): ObjectRef | null {
  if (!(id instanceof Uint8Array)) return null;
  try {
    return current.store.refOfId(idFromBytes(id));
  } catch {
    return null;
  }
}

/** Puts a value for the service to keep; `use` gets its id. */
export async function withStored<R>(
  current: Connection,
  value: unknown,
  use: (id: Uint8Array) => Promise<R>,
): Promise<R> {
  // In a list, so that a ref that is the value stays a ref.
  const ref = current.store.put([value]);
  try {
    return await use(idToBytes(ref.id));
  } finally {
    ref[Symbol.dispose]();
  }
}

/** The value that `withStored` put. */
export async function storedValue(current: Connection, ref: ObjectRef): Promise<unknown> {
  try {
    return ((await current.store.get(ref)) as [unknown])[0];
  } finally {
    ref[Symbol.dispose]();
  }
}
