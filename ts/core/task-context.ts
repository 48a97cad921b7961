// SPDX-License-Identifier: Apache-2.0
// What runs now: the context of a task or actor method, through AsyncLocalStorage, so that it holds after awaits.
// The worker fills it; runtimeContext() and currentSignal() of the api read it.

import { AsyncLocalStorage } from "node:async_hooks";
import type { HandleMeta } from "./actor-handle.ts";

/** Facts about the running call. */
export interface TaskContext {
  readonly taskId: string;
  readonly taskName: string;
  readonly actorId: string | null;
  readonly actorName: string | null;
  readonly attempt: number;
  readonly actorRestarted: boolean;
  /** When its time limit ends (performance.now()), null: it has none. */
  readonly deadlineMs: number | null;
  /** How it was placed: the scheduling text of its spec. */
  readonly scheduling?: string | null;
  /** Fires when the call is cancelled; made at first use. `asked`: the body can notice. */
  readonly abort: { controller: AbortController | null; asked?: boolean };
  /** What handles of its actor carry; null outside of actors. */
  readonly actorMeta: HandleMeta | null;
  /** The calls that it submitted. */
  readonly children: ChildCalls;
}

/** Calls that a running call submitted (ts/worker/children.ts keeps them). */
export interface ChildCalls {
  /** The call is over: later submissions are nobody's children. */
  ended: boolean;
  /** Handles of pending children whose refs were dropped. */
  readonly forgotten: number[];
}

/** Whether any call with a time limit ever came: submitting looks at the context only then. */
export const limits = { any: false };

export const taskContext = new AsyncLocalStorage<TaskContext>();

/** Thrown by exitActor(): the worker ends after it answered this call. */
export class ActorExit extends Error {
  override readonly name = "ActorExit";
}

/** Signal of the running call; one that never fires outside of calls. */
export function signalOf(context: TaskContext | undefined): AbortSignal {
  if (context === undefined) return new AbortController().signal;
  context.abort.controller ??= new AbortController();
  context.abort.asked = true;
  return context.abort.controller.signal;
}
