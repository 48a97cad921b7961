// SPDX-License-Identifier: Apache-2.0
// The package's public names, and nothing else. docs/api-typescript.md describes them.

import "./core/remote-codec.ts";
import "./core/stream-travel.ts";

export { ActorPool, type ElasticOptions, type PoolWork } from "./api/actor-pool.ts";
export {
  currentSignal,
  exitActor,
  getActor,
  kill,
  listNamedActors,
  type RuntimeContext,
  runtimeContext,
  self,
} from "./api/actors.ts";
export {
  availableResources,
  clusterResources,
  getNodeInstanceId,
  getNodeIpAddress,
  type NodeInfo,
  nodes,
  type StoreStats,
  storeStats,
} from "./api/cluster.ts";
export { Graph, type GraphInput, graph } from "./api/graph.ts";
export type { TimeSummary } from "./api/histogram.ts";
export { init, isInitialized, type Runtime, shutdown } from "./api/init.ts";
export type { InitOptions } from "./api/init-options.ts";
export { inspectSerializability, type Obstacle } from "./api/inspect.ts";
export {
  asCompleted,
  type MapOptions,
  mapOrdered,
  mapUnordered,
  type Submit,
} from "./api/iterate.ts";
export {
  type KvDelOptions,
  type KvGetOptions,
  type KvOptions,
  type KvPutOptions,
  type KvValue,
  kv,
} from "./api/kv.ts";
export { metricsText } from "./api/metrics.ts";
export {
  cancel,
  free,
  get,
  getSync,
  type ObjectInfo,
  objectInfo,
  type PutOptions,
  put,
  putAsync,
  release,
  type ValueOf,
  wait,
} from "./api/objects.ts";
export {
  type Bundle,
  currentPlacementGroup,
  getPlacementGroup,
  listPlacementGroups,
  nodeAffinity,
  nodeLabels,
  PlacementGroup,
  type PlacementGroupInfo,
  type PlacementGroupOptions,
  type PlacementStrategy,
  placementGroup,
} from "./api/placement-group.ts";
export {
  heartbeat,
  listPublished,
  lookup,
  type PublishOptions,
  publish,
  unpublish,
} from "./api/published.ts";
export {
  fn,
  type ModuleExport,
  method,
  pyActor,
  pyFunction,
  remote,
  remoteClass,
} from "./api/remote.ts";
export { type ListOptions, type StateFilter, type StateOptions, state } from "./api/state.ts";
export type { ActorSummary, ObjectSummary, TaskSummary } from "./api/state-summary.ts";
export { TestCluster, type TestNode, type TestNodeOptions } from "./api/test-cluster.ts";
export { type TraceEvent, timeline } from "./api/timeline.ts";
export { transfer } from "./api/transfer.ts";
export { type Interceptors, registerWorkerPlugin, use } from "./api/use.ts";
export {
  logOnce,
  type ProgressOptions,
  progress,
  runOnNodes,
  waitForNodes,
  waitForResources,
} from "./api/waiting.ts";
export { WorkerPool } from "./api/worker-pool.ts";
export type { PoolOptions, RunOptions } from "./api/worker-pool-options.ts";
export type { ErrorCode } from "./base/error-codes.ts";
export * from "./base/errors.ts";
export { version } from "./base/version.ts";
export { gpuIds } from "./core/accelerators.ts";
export { GraphNode } from "./core/graph-node.ts";
export type { InterceptedCall, Interceptor } from "./core/interceptors.ts";
export { Kwargs, kwargs } from "./core/kwargs.ts";
export {
  Counter,
  Gauge,
  Histogram,
  type HistogramOptions,
  type MetricOptions,
  type Tags,
} from "./core/metrics.ts";
export type { WorkerPlugin } from "./core/plugins.ts";
export type { PoolContext } from "./core/pool-worker.ts";
export { Queue, type QueueLimits, type QueueOptions } from "./core/queue.ts";
export type {
  ActorDetail,
  ActorState,
  JobState,
  NodeState,
  ObjectDetail,
  ObjectHolder,
  ObjectState,
  PlacementGroupDetail,
  PlacementGroupState,
  TaskDetail,
  TaskState,
  TaskStateName,
  WorkerDetail,
  WorkerState,
} from "./core/state-rows.ts";
export {
  Event,
  Lease,
  Lock,
  type LockOptions,
  Semaphore,
  type SemaphoreOptions,
  Topic,
  Variable,
} from "./core/sync.ts";
export type { NamedOptions, SyncWait } from "./core/sync-request.ts";
export type {
  ActorHandle,
  ActorOptions,
  Arg,
  Args,
  Bytes,
  LabelRule,
  MapBatchOptions,
  MethodOptions,
  ObjectRefStream,
  RemoteClass,
  RemoteFunction,
  RemoteMethod,
  RemoteStreamFunction,
  RemoteTupleFunction,
  Result,
  RetryErrors,
  RetryPlan,
  RuntimeEnvOptions,
  Scheduling,
  StreamOptions,
  TaskOptions,
  TupleResult,
  WaitOptions,
  WithOptions,
} from "./core/types.ts";
export { ObjectRef, RefScope, refScope } from "./object/ref.ts";
export {
  ArrowValue,
  type Codec,
  CodecValue,
  Complex,
  encodeSymbol,
  NdArray,
  PyObject,
  registerCodec,
} from "./object/serialize.ts";
