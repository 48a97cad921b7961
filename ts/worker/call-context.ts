// SPDX-License-Identifier: Apache-2.0
// What a body sees of its call, by runtimeContext() and currentSignal(). Ids become text when somebody asks for them.

import type { HandleMeta } from "../core/actor-handle.ts";
import { capturing, parsePlace } from "../core/placement.ts";
import type { ChildCalls, TaskContext } from "../core/task-context.ts";
import { CallKind } from "../native/binding.ts";
import type { Call, TaskIdText } from "./call.ts";
import type { Actor } from "./instance.ts";
import type { LoadedSpec } from "./load-spec.ts";

/** The context of a call. `spec`: null before its function is loaded. */
export class CallContext implements TaskContext {
  readonly actorId: string | null;
  readonly actorName: string | null;
  readonly attempt: number;
  readonly actorRestarted: boolean;
  readonly deadlineMs: number | null;
  readonly scheduling: string | null;
  readonly abort: TaskContext["abort"];
  readonly actorMeta: HandleMeta | null;
  readonly children: ChildCalls = { ended: false, forgotten: [] };
  readonly #name: string;
  readonly #method: string | null;
  readonly #task: TaskIdText; // not the call, whose arguments would live as long as timers of the body

  constructor(
    call: Call,
    spec: LoadedSpec | null,
    actor: Actor | null,
    scheduling: string | null,
    abort: TaskContext["abort"],
  ) {
    if (parsePlace(scheduling)?.capture === true) capturing.on = true;
    this.#task = call.task;
    const given = call.extras?.name;
    this.#name = given ?? actor?.className ?? spec?.fields.name ?? "task";
    this.#method = given === undefined && actor !== null ? call.method : null;
    this.actorId = call.kind === CallKind.task ? null : call.actorId;
    this.actorName =
      actor?.name ?? (call.kind === CallKind.actorCreate ? (spec?.fields.actorName ?? null) : null);
    this.attempt = call.attempt;
    this.actorRestarted = call.incarnation > 0;
    this.deadlineMs = call.deadlineMs;
    this.scheduling = scheduling;
    this.abort = abort;
    this.actorMeta = actor?.meta ?? null;
  }

  get taskName(): string {
    return this.#method === null ? this.#name : `${this.#name}.${this.#method}`;
  }

  get taskId(): string {
    return this.#task.text;
  }
}
