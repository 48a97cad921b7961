// SPDX-License-Identifier: Apache-2.0
// What became of calls: rows of the native observer (native/client/observe.cc), named and kept.
//
// Finished events are freed in shared memory once they were read, so this is where they live on: at most maxRows, the oldest
// gone first. Calls that wait are looked at anew each time. Runs on the service's thread, only when somebody asks (and when a
// worker ended). Field names are Ray's.

import { idFromBytes } from "../base/ids.ts";
import type { GcsState } from "../gcs/state.ts";
import type { NativeBinding } from "../native/binding.ts";
import { decodeTaskSpec, type TaskSpecFields } from "../wire/task-spec.ts";

const rowBytes = 160;
const maxRows = 100_000;
const maxSpecs = 10_000;
const nilId = "0".repeat(32);
const kinds = ["", "NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK"] as const;
const waitStates = ["", "PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER"];

/** One attempt of a call. */
export type TaskRow = Record<string, unknown> & {
  task_id: string;
  attempt_number: number;
  state: string;
  [microseconds]?: readonly [number | null, number | null];
};

/** When a run began and ended, in microseconds since 1970; not part of the row that is sent. */
export const microseconds: unique symbol = Symbol("microseconds");

/** Rows that the observer gave, one at a time. */
export function* rowsOf(bytes: Uint8Array): Generator<DataView & { bytes: Uint8Array }> {
  for (let at = 0; at + rowBytes <= bytes.length; at += rowBytes) {
    const row = bytes.subarray(at, at + rowBytes);
    const view = new DataView(row.buffer, row.byteOffset, rowBytes);
    yield Object.assign(view, { bytes: row });
  }
}

/** What tells a worker process: as get_worker_id(). */
export function workerIdOf(nodeId: string, serial: number): string {
  return `${nodeId.slice(0, 16)}${serial.toString(16).padStart(40, "0")}`;
}

/** A job's number as its id: four bytes, little-endian. */
export function jobIdOf(job: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(job);
  return bytes.toString("hex");
}

export class TaskLog {
  readonly #native: NativeBinding;
  readonly #state: GcsState;
  readonly #nodeId: string;
  readonly #rows = new Map<string, TaskRow>();
  readonly #specs = new Map<
    string,
    Pick<TaskSpecFields, "name" | "language" | "resources" | "scheduling"> | null
  >();
  /** Processes of actors, by actor. */
  readonly actorPids = new Map<string, number>();

  constructor(native: NativeBinding, state: GcsState, nodeId: string) {
    this.#native = native;
    this.#state = state;
    this.#nodeId = nodeId;
  }

  // What a spread of both rows keeps: the later one's, with the earlier one's start.
  #merged(known: TaskRow, row: TaskRow): TaskRow {
    const [start, end] = row[microseconds] ?? [null, null];
    return {
      ...known,
      ...row,
      start_time_ms: row.start_time_ms ?? known.start_time_ms,
      [microseconds]: [start ?? known[microseconds]?.[0] ?? null, end],
    };
  }

  /** Reads what is new. Returns all attempts, newest last, and those that wait. */
  read(errorOf: (task: string) => { code: string; message: string } | null): TaskRow[] {
    const waiting: TaskRow[] = [];
    for (const view of rowsOf(this.#native.observe(1))) {
      const row = this.#row(view);
      if (row === null) continue;
      const key = `${row.task_id}:${row.attempt_number}`;
      if (view.getUint32(128, true) === 2) {
        if (!this.#rows.has(key)) waiting.push(row);
        continue;
      }
      // Its caller gave it up after it ran: what the run became is kept, unless that was unknown.
      const known = this.#rows.get(key);
      if (view.getUint32(0, true) === 6 && known?.state === "FAILED") continue;
      if (row.state === "FAILED" && row.error_type === null) {
        const error = errorOf(row.task_id);
        row.error_type = error === null ? "TASK_EXECUTION_EXCEPTION" : error.code;
        row.error_message = error?.message ?? null;
      }
      if (view.getUint32(0, true) === 4) this.#rows.delete(key);
      else this.#rows.set(key, known === undefined ? row : this.#merged(known, row));
    }
    for (const key of this.#rows.keys()) {
      if (this.#rows.size <= maxRows) break;
      this.#rows.delete(key);
    }
    return [...this.#rows.values(), ...waiting];
  }

  #row(view: DataView & { bytes: Uint8Array }): TaskRow | null {
    const u32 = (at: number): number => view.getUint32(at, true);
    const id = (at: number): string => idFromBytes(view.bytes.subarray(at, at + 16));
    const micros = (at: number): number | null => Number(view.getBigUint64(at, true)) || null;
    const time = (at: number): number | null => {
      const found = micros(at);
      return found === null ? null : Math.floor(found / 1000);
    };
    const outcome = u32(0);
    const kind = view.getUint16(4, true);
    const source = u32(128);
    const alive = u32(140) === 1;
    const actor = id(48);
    const task = id(16);
    const spec = this.#spec(id(32));
    const text = view.bytes.subarray(84, 128);
    const method = Buffer.from(text.subarray(0, text.indexOf(0))).toString("utf8");
    const row = this.#state.actors.get(actor);
    const name = spec?.name ?? row?.spec.handle.className ?? "task";
    const pid = u32(8);
    if (source === 1 && kind !== 1 && outcome !== 6) this.actorPids.set(actor, pid);
    const place = spec?.scheduling?.startsWith("{") === true ? JSON.parse(spec.scheduling) : null;
    const worked = source === 1 && outcome !== 6;
    const { state, error } = stateOf(source, outcome, u32(136), alive);
    return {
      task_id: task,
      attempt_number: view.getUint16(6, true),
      name: kind === 1 ? name : `${name}.${kind === 2 ? "__init__" : method}`,
      state,
      job_id: jobIdOf(u32(12) || (row?.job ?? 0)),
      actor_id: actor === nilId ? null : actor,
      type: kinds[kind] ?? "NORMAL_TASK",
      func_or_class_name: kind === 1 ? name : kind === 2 ? name : `${name}.${method}`,
      parent_task_id: "f".repeat(32),
      node_id: worked ? this.#nodeId : null,
      worker_id: worked ? workerIdOf(this.#nodeId, u32(80)) : null,
      worker_pid: worked ? pid : null,
      error_type: error,
      language: (spec?.language ?? row?.spec.handle.language) === "py" ? "PYTHON" : "TYPESCRIPT",
      required_resources: spec?.resources ?? {},
      runtime_env_info: null,
      placement_group_id: place?.group ?? null,
      events: null,
      profiling_data: null,
      creation_time_ms: time(64) ?? time(72) ?? Date.now(),
      start_time_ms: time(64),
      end_time_ms: time(72) ?? (alive || source === 2 ? null : Date.now()),
      task_log_info: null,
      error_message:
        error === "WORKER_DIED" ? "The worker process ended while it ran the task." : null,
      is_debugger_paused: null,
      call_site: null,
      label_selector: null,
      fallback_strategy: null,
      [microseconds]: [micros(64), micros(72)],
    };
  }

  // The spec object is the envelope of [TaskSpec, code]; the FlatBuffer is found by its mark, the code is not decoded.
  #spec(id: string) {
    if (id === nilId) return null;
    const known = this.#specs.get(id);
    if (known !== undefined) return known;
    let found: TaskSpecFields | null = null;
    const handle = this.#native.handleOfId(id);
    if (handle !== 0) {
      const view = this.#native.read(handle, false);
      const bytes = view === null ? Buffer.alloc(0) : Buffer.from(view);
      this.#native.releaseHandle(handle);
      const at = bytes.indexOf("PRTS", 0, "latin1");
      try {
        if (at >= 4) found = decodeTaskSpec(bytes.subarray(at - 4));
      } catch {
        found = null;
      }
    }
    const kept =
      found === null
        ? null
        : {
            name: found.name,
            language: found.language,
            resources: found.resources,
            scheduling: found.scheduling,
          };
    this.#specs.set(id, kept);
    for (const old of this.#specs.keys()) {
      if (this.#specs.size <= maxSpecs) break;
      this.#specs.delete(old);
    }
    return kept;
  }
}

function stateOf(
  source: number,
  outcome: number,
  wait: number,
  alive: boolean,
): { state: string; error: string | null } {
  if (source === 2) return { state: waitStates[wait] ?? "PENDING_NODE_ASSIGNMENT", error: null };
  if (outcome === 0)
    return alive ? { state: "RUNNING", error: null } : { state: "FAILED", error: "WORKER_DIED" };
  if (outcome === 1) return { state: "FINISHED", error: null };
  if (outcome === 5) return { state: "FAILED", error: "TASK_CANCELLED" };
  return { state: "FAILED", error: null };
}
