// SPDX-License-Identifier: Apache-2.0
// What the cluster has: nodes, resources, the object store.

import { connection } from "../core/context.ts";

/** One node. */
export interface NodeInfo {
  readonly nodeId: string;
  readonly alive: boolean;
  readonly address: string;
  readonly hostname: string;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStore: {
    readonly usedBytes: number;
    readonly capacityBytes: number;
    /** On disk now. */
    readonly spilledBytes: number;
    readonly spilledObjects: number;
  };
}

/** Counters of the object store. */
export interface StoreStats {
  readonly usedBytes: number;
  readonly capacityBytes: number;
  readonly objects: number;
  readonly workers: number;
  readonly idleWorkers: number;
  /** On disk now. */
  readonly spilledBytes: number;
  readonly spilledObjects: number;
  /** Ever written to disk, and ever read from there. */
  readonly spilledTotalBytes: number;
  readonly restoredTotalBytes: number;
  /** Bytes of objects that values of this process lie over now, in place: zero-copy views that live. */
  readonly liveViewBytes: number;
}

async function stats(): Promise<Record<string, number>> {
  return (await connection().request("store.stats")).stats as Record<string, number>;
}

/** The nodes of the cluster. */
export async function nodes(): Promise<NodeInfo[]> {
  const [answer, store] = await Promise.all([connection().request("nodes"), stats()]);
  const objectStore = {
    usedBytes: store.storeUsedBytes ?? 0,
    capacityBytes: store.storeCapacityBytes ?? 0,
    spilledBytes: store.spilledBytes ?? 0,
    spilledObjects: store.spilledObjects ?? 0,
  };
  return (answer.nodes as Omit<NodeInfo, "objectStore">[]).map((node) => ({
    ...node,
    objectStore,
  }));
}

/** The address of this machine, as `nodes()` shows it. */
export async function getNodeIpAddress(): Promise<string> {
  const current = connection();
  const own = (await nodes()).find((node) => node.nodeId === current.place.nodeId);
  return own?.address ?? "127.0.0.1";
}

/** The cloud's id of this machine (RAY_CLOUD_INSTANCE_ID); empty when it is not set. */
export function getNodeInstanceId(): string {
  return process.env.RAY_CLOUD_INSTANCE_ID ?? "";
}

/** All resources: `CPU`, `GPU`, `memory`, `object_store_memory` and custom names. */
export async function clusterResources(): Promise<Record<string, number>> {
  return (await connection().request("resources.total")).resources as Record<string, number>;
}

/** Resources that are free now. */
export async function availableResources(): Promise<Record<string, number>> {
  return (await connection().request("resources.available")).resources as Record<string, number>;
}

/** Use of this node's object store, and of it by this process. */
export async function storeStats(): Promise<StoreStats> {
  const found = await stats();
  return {
    usedBytes: found.storeUsedBytes ?? 0,
    capacityBytes: found.storeCapacityBytes ?? 0,
    objects: found.objects ?? 0,
    workers: found.workers ?? 0,
    idleWorkers: found.idleWorkers ?? 0,
    spilledBytes: found.spilledBytes ?? 0,
    spilledObjects: found.spilledObjects ?? 0,
    spilledTotalBytes: found.spilledTotalBytes ?? 0,
    restoredTotalBytes: found.spillReadBytes ?? 0,
    liveViewBytes: connection().native.counters().liveViewBytes,
  };
}
