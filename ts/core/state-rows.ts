// SPDX-License-Identifier: Apache-2.0
// The rows of the state API as TypeScript sees them, and which of their fields a list without `detail` has.
//
// On the wire, in Python and on the command line the fields have Ray's names (`task_id`); here they are `taskId`.
// The tables are checked against the interfaces by the compiler.

/** States of a task. */
export type TaskStateName =
  | "PENDING_ARGS_AVAIL"
  | "PENDING_NODE_ASSIGNMENT"
  | "SUBMITTED_TO_WORKER"
  | "RUNNING"
  | "FINISHED"
  | "FAILED";

/** One attempt of a task or of an actor's method. */
export interface TaskState {
  readonly taskId: string;
  /** 0 for the first. */
  readonly attemptNumber: number;
  readonly name: string;
  readonly state: TaskStateName;
  readonly jobId: string;
  readonly actorId: string | null;
  readonly type: "NORMAL_TASK" | "ACTOR_CREATION_TASK" | "ACTOR_TASK";
  readonly funcOrClassName: string;
  readonly parentTaskId: string;
  readonly nodeId: string | null;
  readonly workerId: string | null;
  readonly workerPid: number | null;
  /** Why it failed: a code of docs/errors.md, or WORKER_DIED, TASK_EXECUTION_EXCEPTION. */
  readonly errorType: string | null;
}

/** A task with everything that is known. */
export interface TaskDetail extends TaskState {
  readonly language: "PYTHON" | "TYPESCRIPT";
  readonly requiredResources: Readonly<Record<string, number>>;
  readonly placementGroupId: string | null;
  /** Milliseconds since 1970, as all times here. */
  readonly creationTimeMs: number | null;
  readonly startTimeMs: number | null;
  readonly endTimeMs: number | null;
  readonly errorMessage: string | null;
}

/** An actor, alive or dead. */
export interface ActorState {
  readonly actorId: string;
  readonly className: string;
  readonly state: "DEPENDENCIES_UNREADY" | "PENDING_CREATION" | "ALIVE" | "RESTARTING" | "DEAD";
  readonly jobId: string;
  /** Empty: it has none. */
  readonly name: string;
  readonly nodeId: string | null;
  /** 0: no process yet. */
  readonly pid: number;
  readonly namespace: string;
}

/** An actor with everything that is known. */
export interface ActorDetail extends ActorState {
  readonly requiredResources: Readonly<Record<string, number>>;
  /** Why it died. */
  readonly deathCause: string | null;
  readonly isDetached: boolean;
  readonly placementGroupId: string | null;
  readonly numRestarts: number;
}

/** An object of the store. */
export interface ObjectState {
  readonly objectId: string;
  /** Bytes; -1 while it is being made. */
  readonly objectSize: number;
  readonly taskStatus: string;
  readonly attemptNumber: number;
  readonly referenceType:
    | "LOCAL_REFERENCE"
    | "PINNED_IN_MEMORY"
    | "USED_BY_PENDING_TASK"
    | "ACTOR_HANDLE";
  /** What made it: `put`, or the task that returned it. */
  readonly callSite: string;
  readonly type: "DRIVER" | "WORKER" | "SERVICE";
  /** The process that made it, or asked for it. */
  readonly pid: number;
  readonly ip: string;
}

/** A process that holds an object. */
export interface ObjectHolder {
  readonly pid: number;
  readonly type: "DRIVER" | "WORKER" | "SERVICE";
  /** It has refs of it. */
  readonly references: boolean;
  /** It has its bytes in place. */
  readonly pinned: boolean;
}

/** An object with everything that is known. */
export interface ObjectDetail extends ObjectState {
  /** Processes and other values that hold it, counted. */
  readonly references: number;
  readonly pins: number;
  readonly storeState: "PENDING" | "SEALED" | "SPILLED" | "DEAD";
  readonly holders: readonly ObjectHolder[];
}

/** A worker process or a driver. */
export interface WorkerState {
  readonly workerId: string;
  readonly isAlive: boolean;
  readonly workerType: "WORKER" | "DRIVER";
  /** How it ended; null while it lives. */
  readonly exitType: "INTENDED_SYSTEM_EXIT" | "SYSTEM_ERROR" | null;
  readonly nodeId: string;
  readonly ip: string;
  readonly pid: number;
}

/** A worker with everything that is known. */
export interface WorkerDetail extends WorkerState {
  readonly exitDetail: string | null;
  readonly startTimeMs: number | null;
  readonly endTimeMs: number | null;
}

/** A node. */
export interface NodeState {
  readonly nodeId: string;
  readonly nodeIp: string;
  readonly isHeadNode: boolean;
  readonly state: "ALIVE" | "DEAD";
  readonly nodeName: string;
  readonly resourcesTotal: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** A driver and what it started. */
export interface JobState {
  readonly type: "DRIVER";
  readonly jobId: string;
  readonly status: "RUNNING" | "SUCCEEDED";
  readonly entrypoint: string;
  readonly startTime: number;
  readonly endTime: number | null;
  readonly driverNodeId: string;
  readonly driverInfo: Readonly<Record<string, string>>;
}

/** A placement group. */
export interface PlacementGroupState {
  readonly placementGroupId: string;
  readonly name: string;
  readonly creatorJobId: string;
  readonly state: "PENDING" | "CREATED" | "REMOVED" | "RESCHEDULING";
}

/** A placement group with everything that is known. */
export interface PlacementGroupDetail extends PlacementGroupState {
  readonly bundles: readonly Readonly<Record<string, unknown>>[];
  readonly isDetached: boolean;
  readonly stats: Readonly<Record<string, unknown>>;
}

/** What a runtime lists: rows of a short list, and with `detail`. */
export interface StateRows {
  tasks: [TaskState, TaskDetail];
  actors: [ActorState, ActorDetail];
  objects: [ObjectState, ObjectDetail];
  workers: [WorkerState, WorkerDetail];
  nodes: [NodeState, NodeState];
  jobs: [JobState, JobState];
  placementGroups: [PlacementGroupState, PlacementGroupDetail];
}

export type StateKind = keyof StateRows;

type Fields<K extends StateKind> = {
  readonly [F in keyof StateRows[K][1]]: F extends keyof StateRows[K][0] ? "base" : "more";
};

/** The fields of each list, in the order in which they are shown. */
export const stateFields: { readonly [K in StateKind]: Fields<K> } = {
  tasks: {
    taskId: "base",
    attemptNumber: "base",
    name: "base",
    state: "base",
    jobId: "base",
    actorId: "base",
    type: "base",
    funcOrClassName: "base",
    parentTaskId: "base",
    nodeId: "base",
    workerId: "base",
    workerPid: "base",
    errorType: "base",
    language: "more",
    requiredResources: "more",
    placementGroupId: "more",
    creationTimeMs: "more",
    startTimeMs: "more",
    endTimeMs: "more",
    errorMessage: "more",
  },
  actors: {
    actorId: "base",
    className: "base",
    state: "base",
    jobId: "base",
    name: "base",
    nodeId: "base",
    pid: "base",
    namespace: "base",
    requiredResources: "more",
    deathCause: "more",
    isDetached: "more",
    placementGroupId: "more",
    numRestarts: "more",
  },
  objects: {
    objectId: "base",
    objectSize: "base",
    taskStatus: "base",
    attemptNumber: "base",
    referenceType: "base",
    callSite: "base",
    type: "base",
    pid: "base",
    ip: "base",
    references: "more",
    pins: "more",
    storeState: "more",
    holders: "more",
  },
  workers: {
    workerId: "base",
    isAlive: "base",
    workerType: "base",
    exitType: "base",
    nodeId: "base",
    ip: "base",
    pid: "base",
    exitDetail: "more",
    startTimeMs: "more",
    endTimeMs: "more",
  },
  nodes: {
    nodeId: "base",
    nodeIp: "base",
    isHeadNode: "base",
    state: "base",
    nodeName: "base",
    resourcesTotal: "base",
    labels: "base",
  },
  jobs: {
    type: "base",
    jobId: "base",
    status: "base",
    entrypoint: "base",
    startTime: "base",
    endTime: "base",
    driverNodeId: "base",
    driverInfo: "base",
  },
  placementGroups: {
    placementGroupId: "base",
    name: "base",
    creatorJobId: "base",
    state: "base",
    bundles: "more",
    isDetached: "more",
    stats: "more",
  },
};

/** The field that tells the rows of a list apart. */
export const stateIds: { readonly [K in StateKind]: keyof StateRows[K][0] & string } = {
  tasks: "taskId",
  actors: "actorId",
  objects: "objectId",
  workers: "workerId",
  nodes: "nodeId",
  jobs: "jobId",
  placementGroups: "placementGroupId",
};

// The few whose wire name is not simply the same words.
const wireNames: Readonly<Record<string, string>> = { namespace: "ray_namespace" };

/** `taskId` on the wire: `task_id`. A name with underscores stays. */
export function wireName(name: string): string {
  return wireNames[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The name of a kind on the wire: `placement_groups`. */
export function wireKind(kind: StateKind): string {
  return wireName(kind);
}

/** A row with our names and only the fields that were asked for. */
export function rowOf<K extends StateKind>(
  kind: K,
  wire: Readonly<Record<string, unknown>>,
  detail: boolean,
): StateRows[K][0] {
  const row: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(stateFields[kind]))
    if (detail || part === "base") row[name] = plain(name, wire[wireName(name)]);
  return row as unknown as StateRows[K][0];
}

function plain(name: string, value: unknown): unknown {
  if (name !== "deathCause" || value === null || typeof value !== "object") return value ?? null;
  const [context] = Object.values(value as Record<string, { error_message?: string }>);
  return context?.error_message ?? null;
}
