// SPDX-License-Identifier: Apache-2.0
/**
 * Reads a function's closure through an in-process inspector session.
 *
 * Owns the one `node:inspector` session of this JS environment and the slot through which real
 * references (not previews) come back. No domain stays enabled between calls, so the program is
 * not slowed, and the session is separate from any front end attached by `--inspect`.
 * Thread: the environment that loaded it; every post is answered synchronously.
 * Invariants: 1. the slot is empty between calls; 2. remote objects are released after each call.
 */

import type { Session } from "node:inspector";

type AnyFunction = (...args: never[]) => unknown;

/** One scope of a closure, innermost first. `variables` is a copy made by V8 at this moment. */
export interface Scope {
  /** V8's description without a name: `Closure`, `Block`, `Module`, `Script`, `Class` ... */
  readonly type: string;
  readonly variables: Readonly<Record<string, unknown>>;
}

/** Where a function was compiled, and what it closes over (the global scope left out). */
export interface Inspection {
  readonly scriptId: string;
  /** Zero-based position of the parameter list (functions) or of the constructor (classes). */
  readonly line: number;
  readonly column: number;
  readonly scopes: readonly Scope[];
}

interface RemoteProperty {
  readonly name: string;
  readonly value?: { readonly objectId?: string; readonly value?: unknown };
}

interface RawScope {
  readonly description: string;
  readonly object: Record<string, unknown>;
}

const slotKey = Symbol.for("polyray.function.inspect");
const objectGroup = "polyray.function";
const slot: { fn: unknown; scopes: ArrayLike<RawScope> | null } = { fn: null, scopes: null };

let session: Session | null = null;

function openSession(): Session {
  if (session === null) {
    session = connect();
    Object.defineProperty(globalThis, slotKey, { value: slot, configurable: true });
  }
  return session;
}

function connect(): Session {
  try {
    const { Session: InspectorSession } = process.getBuiltinModule("node:inspector");
    const opened = new InspectorSession();
    opened.connect();
    return opened;
  } catch (cause) {
    // A Node built or started without the inspector, or one under a permission model.
    throw new Error("functions cannot be read here: this Node has no inspector", { cause });
  }
}

/** Posts to the session and returns the answer. Throws what the inspector reports. */
export function post<T>(method: string, params: object = {}): T {
  let failure: Error | null = null;
  let answer: unknown;
  const send = openSession() as unknown as {
    post(m: string, p: object, done: (error: Error | null, result: unknown) => void): void;
  };
  send.post(method, params, (error, result) => {
    failure = error;
    answer = result;
  });
  if (failure !== null) {
    const { code, message } = failure as { code?: unknown; message?: string };
    throw new Error(`inspector ${method} failed: ${message ?? String(code)}`);
  }
  return answer as T;
}

/** Listens to a notification while `run` posts. */
export function withListener<T>(
  event: string,
  listener: (params: T) => void,
  run: () => void,
): void {
  const target = openSession();
  const handler = (message: { params: T }): void => listener(message.params);
  target.on(event, handler);
  try {
    run();
  } finally {
    target.removeListener(event, handler);
  }
}

/** Reads location and scopes of `fn`, or null when V8 has none (native and bound functions). */
export function inspectFunction(fn: AnyFunction): Inspection | null {
  openSession();
  slot.fn = fn;
  try {
    const found = post<{ result: { objectId: string } }>("Runtime.evaluate", {
      expression: `globalThis[Symbol.for("${slotKey.description}")].fn`,
      objectGroup,
      silent: true,
    });
    const { internalProperties = [] } = post<{ internalProperties?: RemoteProperty[] }>(
      "Runtime.getProperties",
      { objectId: found.result.objectId, ownProperties: true },
    );
    const location = internalProperties.find((entry) => entry.name === "[[FunctionLocation]]");
    const scopeList = internalProperties.find((entry) => entry.name === "[[Scopes]]");
    if (location?.value?.value === undefined) return null;
    const at = location.value.value as {
      scriptId: string;
      lineNumber: number;
      columnNumber: number;
    };
    return {
      scriptId: at.scriptId,
      line: at.lineNumber,
      column: at.columnNumber,
      scopes: readScopes(scopeList?.value?.objectId),
    };
  } finally {
    slot.fn = null;
    slot.scopes = null;
    post("Runtime.releaseObjectGroup", { objectGroup });
  }
}

function readScopes(objectId: string | undefined): Scope[] {
  if (objectId === undefined) return [];
  post("Runtime.callFunctionOn", {
    objectId,
    functionDeclaration: `function () { globalThis[Symbol.for("${slotKey.description}")].scopes = this; }`,
    objectGroup,
    silent: true,
  });
  const scopes: Scope[] = [];
  for (const raw of Array.from(slot.scopes ?? [])) {
    const type = raw.description.split(" ")[0] ?? "";
    if (type !== "Global") scopes.push({ type, variables: raw.object });
  }
  return scopes;
}
