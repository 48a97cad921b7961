// SPDX-License-Identifier: Apache-2.0
// The state API: tasks, actors, objects, workers, nodes, jobs and placement groups as rows with Ray's field names.
//
// Nothing is collected while nobody asks. A list is filtered and cut here; its answer goes out in pages that fit a record,
// kept for pageMs. Requests: state.list {resource, filters, limit}, state.page {page, offset}.

import { encode } from "@msgpack/msgpack";
import { userAmounts } from "../base/amounts.ts";
import { PolyrayError } from "../base/errors.ts";
import { idFromBytes } from "../base/ids.ts";
import { maxListRows, maxTraceEvents } from "../core/state-request.ts";
import { ActorPhase, type ActorRow, actorStates, type GcsState } from "../gcs/state.ts";
import { EndpointKind, type NativeBinding } from "../native/binding.ts";
import { jobIdOf, rowsOf, TaskLog, type TaskRow, workerIdOf } from "./task-log.ts";
import { traceEvents } from "./trace-events.ts";

type Row = Record<string, unknown>;
type Fields = Record<string, unknown>;

const pageBytes = 32 * 1024;
const pageMs = 15_000;
const maxDeadWorkers = 1000;
const entryStates = ["FREE", "PENDING", "SEALED", "DEAD"];

/** What it needs to know of the node. */
export interface StateSource {
  readonly nodeId: string;
  readonly address: string;
  /** The typed error of an envelope, or null. */
  readError(bytes: Uint8Array | null): unknown;
}

export class StateService {
  readonly #native: NativeBinding;
  readonly #state: GcsState;
  readonly #source: StateSource;
  readonly #tasks: TaskLog;
  readonly #pages = new Map<number, Buffer>();
  readonly #deadWorkers: Row[] = [];
  readonly #seen = new Map<number, number>();
  #nextPage = 1;

  constructor(native: NativeBinding, state: GcsState, source: StateSource) {
    this.#native = native;
    this.#state = state;
    this.#source = source;
    this.#tasks = new TaskLog(native, state, source.nodeId);
  }

  /** A worker process ended. */
  workerGone(pid: number, serial: number, detail: string, expected: boolean): void {
    this.#deadWorkers.push({
      worker_id: workerIdOf(this.#source.nodeId, serial),
      is_alive: false,
      worker_type: "WORKER",
      exit_type: expected ? "INTENDED_SYSTEM_EXIT" : "SYSTEM_ERROR",
      node_id: this.#source.nodeId,
      ip: "127.0.0.1",
      pid,
      exit_detail: detail,
      start_time_ms: this.#seen.get(serial) ?? null,
      end_time_ms: Date.now(),
    });
    this.#seen.delete(serial);
    if (this.#deadWorkers.length > maxDeadWorkers) this.#deadWorkers.shift();
    this.tasks(); // its events are read before its chunks are used again
  }

  handles(method: string): boolean {
    return method === "state.list" || method === "state.page";
  }

  request(method: string, fields: Fields): Fields {
    if (method === "state.page") return this.#page(Number(fields.page), Number(fields.offset));
    const resource = String(fields.resource);
    const all = this.rows(resource);
    const filters = (fields.filters as [string, string, unknown][] | undefined) ?? [];
    const found =
      filters.length === 0 ? all : all.filter((row) => filters.every((f) => passes(row, f)));
    const most = resource === "timeline" ? maxTraceEvents : maxListRows;
    const limit = Math.min(Number(fields.limit ?? 100), most);
    const bytes = Buffer.from(encode(found.slice(0, limit), { ignoreUndefined: true }));
    const page = this.#nextPage++;
    this.#pages.set(page, bytes);
    setTimeout(() => this.#pages.delete(page), pageMs).unref();
    return {
      page,
      bytes: bytes.length,
      total: all.length,
      filtered: found.length,
      ...this.#page(page, 0),
    };
  }

  #page(page: number, offset: number): Fields {
    const bytes = this.#pages.get(page);
    if (bytes === undefined)
      throw new PolyrayError("[not found] the list was read too slowly: ask again", {
        code: "NOT_FOUND",
      });
    const part = bytes.subarray(offset, offset + pageBytes);
    if (offset + part.length >= bytes.length) this.#pages.delete(page);
    return { part };
  }

  /** All rows of a resource. */
  rows(resource: string): Row[] {
    switch (resource) {
      case "tasks":
        return this.tasks();
      case "actors":
        return this.#actors();
      case "objects":
        return this.#objects();
      case "workers":
        return this.#workers();
      case "nodes":
        return this.#nodes();
      case "jobs":
        return this.#jobs();
      case "placement_groups":
        return this.#groups();
      case "timeline":
        return traceEvents(this.tasks());
      default:
        throw new PolyrayError(`[invalid argument] there is no state of "${resource}"`, {
          code: "INVALID_ARGUMENT",
        });
    }
  }

  tasks(): TaskRow[] {
    return this.#tasks.read((task) => {
      const handle = this.#native.handleOfId(task);
      if (handle === 0) return null;
      const view = this.#native.read(handle, false);
      const error = view === null ? null : this.#source.readError(view.slice());
      this.#native.releaseHandle(handle);
      if (!(error instanceof Error)) return null;
      const code = error instanceof PolyrayError ? error.code : "TASK_EXECUTION_EXCEPTION";
      return { code: errorTypes[code] ?? code, message: error.message };
    });
  }

  #endpoints(): { kind: number; pid: number; serial: number; job: number; endpoint: number }[] {
    return [...rowsOf(this.#native.observe(3))].map((row) => ({
      endpoint: row.getUint32(0, true),
      kind: row.getUint32(4, true),
      pid: row.getUint32(8, true),
      serial: row.getUint32(12, true),
      job: row.getUint32(16, true),
    }));
  }

  #pids(): ReadonlyMap<bigint, number> {
    return new Map(
      this.#endpoints().map((one) => [BigInt(one.endpoint) | (BigInt(one.serial) << 32n), one.pid]),
    );
  }

  /** The process of a peer; 0 when it is not known. */
  pidOf(peer: bigint): number {
    return this.#pids().get(peer) ?? 0;
  }

  #actors(): Row[] {
    this.tasks(); // learns the processes of actors
    const pids = this.#pids();
    return [...this.#state.actors.values()].map((row) => this.#actor(row, pids));
  }

  #actor(row: ActorRow, pids: ReadonlyMap<bigint, number>): Row {
    const { spec } = row;
    const live = row.peer === null ? undefined : pids.get(row.peer);
    const placed = row.phase === ActorPhase.alive || row.phase === ActorPhase.dead;
    return {
      actor_id: spec.actor,
      class_name: spec.handle.className,
      state: actorStates[row.phase],
      job_id: jobIdOf(row.job),
      name: spec.handle.name ?? "",
      node_id:
        placed && (live !== undefined || row.phase === ActorPhase.dead)
          ? this.#source.nodeId
          : null,
      pid: live ?? this.#tasks.actorPids.get(spec.actor) ?? 0,
      ray_namespace: spec.namespace,
      serialized_runtime_env: null,
      required_resources: userAmounts(spec.resources),
      death_cause:
        row.death === null
          ? null
          : {
              actor_died_error_context: {
                error_message: row.death.reason,
                name: spec.handle.name ?? "",
              },
            },
      is_detached: spec.detached,
      placement_group_id: spec.group,
      repr_name: "",
      num_restarts: row.restarts,
      num_restarts_due_to_lineage_reconstruction: 0,
      num_restarts_due_to_node_preemption: 0,
      call_site: null,
      label_selector: null,
      fallback_strategy: null,
    };
  }

  // Who holds what, by object: seen in the processes' own tables.
  #holders(): Map<string, Map<number, Holder>> {
    const kinds = new Map(this.#endpoints().map((one) => [one.endpoint, one.kind]));
    const found = new Map<string, Map<number, Holder>>();
    for (const row of rowsOf(this.#native.observe(4))) {
      const id = idFromBytes(row.bytes.subarray(0, 16));
      const endpoint = row.getUint32(16, true);
      let holders = found.get(id);
      if (holders === undefined) {
        holders = new Map();
        found.set(id, holders);
      }
      let holder = holders.get(endpoint);
      if (holder === undefined) {
        const type = kindNames[kinds.get(endpoint) ?? 0] ?? "WORKER";
        holder = { pid: row.getUint32(20, true), type, references: false, pinned: false };
        holders.set(endpoint, holder);
      }
      if (row.getUint32(24, true) === 1) holder.references = true;
      else holder.pinned = true;
    }
    return found;
  }

  #objects(): Row[] {
    const holders = this.#holders();
    const makers = new Map(this.#endpoints().map((one) => [one.endpoint, one]));
    const names = new Map(this.tasks().map((task) => [task.task_id, String(task.name)]));
    const rows = [...rowsOf(this.#native.observe(2))].map((row) => {
      const id = idFromBytes(row.bytes.subarray(0, 16));
      const task = names.get(id);
      const state = row.getUint32(24, true);
      const flags = {
        actor: (state & (1 << 12)) !== 0,
        keep: (state & (1 << 13)) !== 0,
        spilled: (state & (1 << 14)) !== 0,
      };
      const sealed = (state & 0xff) === 2;
      const maker = makers.get(row.getUint32(36, true));
      return {
        object_id: id,
        object_size: sealed ? Number(row.getBigUint64(16, true)) : -1,
        task_status: sealed ? "FINISHED" : "PENDING_NODE_ASSIGNMENT",
        attempt_number: 1,
        reference_type: flags.actor
          ? "ACTOR_HANDLE"
          : row.getUint32(32, true) > 0
            ? "PINNED_IN_MEMORY"
            : sealed
              ? "LOCAL_REFERENCE"
              : "USED_BY_PENDING_TASK",
        call_site: flags.actor ? "actor" : task === undefined ? "put" : `task ${task}`,
        type: kindNames[maker?.kind ?? 0] ?? "WORKER",
        pid: row.getUint32(40, true),
        ip: "127.0.0.1",
        job_id: jobIdOf(maker?.job ?? 0),
        references: row.getUint32(28, true),
        pins: row.getUint32(32, true),
        store_state: flags.spilled ? "SPILLED" : (entryStates[state & 0xff] ?? "PENDING"),
        holders: [...(holders.get(id)?.values() ?? [])],
        task_spec: flags.keep,
      };
    });
    return rows.filter((row) => !row.task_spec);
  }

  #workers(): Row[] {
    const live = this.#endpoints()
      .filter((one) => one.kind === EndpointKind.driver || one.kind === EndpointKind.worker)
      .map((one) => {
        if (!this.#seen.has(one.serial)) this.#seen.set(one.serial, Date.now());
        return {
          worker_id: workerIdOf(this.#source.nodeId, one.serial),
          is_alive: true,
          worker_type: one.kind === EndpointKind.driver ? "DRIVER" : "WORKER",
          exit_type: null,
          node_id: this.#source.nodeId,
          ip: "127.0.0.1",
          pid: one.pid,
          exit_detail: null,
          start_time_ms: this.#seen.get(one.serial) ?? null,
          end_time_ms: null,
        };
      });
    return [...live, ...this.#deadWorkers].map((row) => ({
      worker_launch_time_ms: null,
      worker_launched_time_ms: null,
      debugger_port: null,
      num_paused_threads: 0,
      ...row,
    }));
  }

  #nodes(): Row[] {
    return [...this.#state.nodes.values()].map((row) => ({
      node_id: row.nodeId,
      node_ip: row.address,
      is_head_node: true,
      state: row.alive ? "ALIVE" : "DEAD",
      state_message: null,
      node_name: row.address,
      resources_total: row.resources,
      labels: { "ray.io/node-id": row.nodeId, ...row.labels },
      start_time_ms: null,
      end_time_ms: null,
    }));
  }

  #jobs(): Row[] {
    return [...this.#state.jobs.values()].map((row) => ({
      type: "DRIVER",
      job_id: jobIdOf(row.job),
      submission_id: null,
      driver_info: { id: jobIdOf(row.job), node_ip_address: "127.0.0.1", pid: String(row.pid) },
      status: row.endedAtMs === null ? "RUNNING" : "SUCCEEDED",
      entrypoint: row.entrypoint,
      message: null,
      error_type: null,
      start_time: row.startedAtMs,
      end_time: row.endedAtMs,
      metadata: {},
      runtime_env: {},
      driver_agent_http_address: null,
      driver_node_id: this.#source.nodeId,
      driver_exit_code: null,
    }));
  }

  #groups(): Row[] {
    return [...this.#state.groups.values()].map((row) => ({
      placement_group_id: row.id,
      name: row.name,
      creator_job_id: jobIdOf(row.job),
      state: row.state,
      bundles: row.bundles.map((bundle, index) => ({
        bundle_id: { placement_group_id: row.id, bundle_index: index },
        unit_resources: userAmounts(bundle),
        node_id: row.state === "CREATED" ? this.#source.nodeId : "",
      })),
      is_detached: row.detached,
      stats: { scheduling_state: row.state === "CREATED" ? "FINISHED" : row.state },
      topology_strategy: null,
      topology_assignments: null,
    }));
  }
}

interface Holder {
  readonly pid: number;
  readonly type: string;
  references: boolean;
  pinned: boolean;
}

const kindNames: Readonly<Record<number, string>> = {
  [EndpointKind.service]: "SERVICE",
  [EndpointKind.driver]: "DRIVER",
  [EndpointKind.worker]: "WORKER",
  [EndpointKind.client]: "CLIENT",
};

const errorTypes: Readonly<Record<string, string>> = {
  WORKER_CRASHED: "WORKER_DIED",
  TASK_FAILED: "TASK_EXECUTION_EXCEPTION",
  TASK: "TASK_EXECUTION_EXCEPTION",
};

function passes(row: Row, [key, predicate, wanted]: [string, string, unknown]): boolean {
  const value = row[key];
  const same = text(value) === text(wanted);
  return predicate === "!=" ? !same : same;
}

function text(value: unknown): string {
  return String(value ?? "none").toLowerCase();
}
