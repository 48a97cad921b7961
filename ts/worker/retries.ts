// SPDX-License-Identifier: Apache-2.0
// Whether a call that failed runs again, by the rules of its function, its method, or the call itself. Runs the user's
// predicate, nothing else of theirs.

import { PolyrayError } from "../base/errors.ts";
import { isOneOf } from "../core/retry.ts";
import { ActorExit } from "../core/task-context.ts";
import type { RetryPlan } from "../core/types.ts";
import { CallFlag, CallKind } from "../native/binding.ts";
import type { Call } from "./call.ts";
import type { LoadedSpec } from "./load-spec.ts";

/** Whether the rules want the call to run again. A promise when a predicate needs one. REQUIRES: runs are left. */
export function retryDecision(
  spec: LoadedSpec,
  call: Call,
  thrown: unknown,
): boolean | Promise<boolean> {
  if (thrown instanceof ActorExit || call.kind === CallKind.actorCreate) return false;
  if (thrown instanceof PolyrayError && thrown.code === "TASK_CANCELLED") return false;
  const own = call.extras?.retry;
  if (own !== undefined)
    return typeof own === "boolean" ? own : isOneOf(thrown, Buffer.from(JSON.stringify(own)));
  if ((call.flags & CallFlag.retryExceptions) !== 0) return true;
  const isTask = call.kind === CallKind.task;
  const rules = isTask ? spec.fields : spec.fields.methods.find((one) => one.name === call.method);
  if (rules?.retryExceptions !== true) return false;
  const retryIf = (isTask ? spec.extras?.task : spec.extras?.methods[call.method])?.retryIf;
  if (retryIf !== undefined) return asked(retryIf, thrown);
  return rules.retryExceptionList === null || isOneOf(thrown, rules.retryExceptionList);
}

// A predicate that fails does not hide the error that it was asked about.
function asked(retryIf: (error: unknown) => unknown, thrown: unknown): boolean | Promise<boolean> {
  try {
    const answer = retryIf(thrown);
    if (typeof (answer as PromiseLike<unknown> | null)?.then !== "function") return answer === true;
    return Promise.resolve(answer).then(
      (value) => value === true,
      () => false,
    );
  } catch {
    return false;
  }
}

/** How the pauses between runs grow; null: no pause. */
export function retryPlan(spec: LoadedSpec, call: Call): RetryPlan | null {
  if (call.kind === CallKind.task) return spec.extras?.task.plan ?? null;
  return call.extras?.plan ?? spec.extras?.methods[call.method]?.plan ?? null;
}
