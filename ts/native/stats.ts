// SPDX-License-Identifier: Apache-2.0
// What the native side counts: of the node, of each process, of this endpoint. Plain numbers, a part of the contract of
// binding.ts.

/** Numbers of the node. */
export interface RayletStats {
  readonly total: Readonly<Record<string, number>>;
  readonly available: Readonly<Record<string, number>>;
  readonly storeUsedBytes: number;
  readonly storeCapacityBytes: number;
  readonly objects: number;
  readonly endpoints: number;
  readonly workers: number;
  readonly idleWorkers: number;
  readonly startingWorkers: number;
  readonly queuedLeases: number;
  readonly activeLeases: number;
  readonly bellsReceived: number;
  readonly recordsHandled: number;
  /** On disk now. */
  readonly spilledBytes: number;
  readonly spilledObjects: number;
  /** Since the start. */
  readonly spilledTotalBytes: number;
  readonly spilledTotalObjects: number;
  readonly spillWriteMs: number;
  /** How often a process mapped a spilled object to read it, and their bytes. */
  readonly spillReads: number;
  readonly spillReadBytes: number;
  /** Since the start. */
  readonly workersStarted: number;
  readonly leasesGranted: number;
  readonly extentsGranted: number;
  /** Of the extents granted: bytes that had their pages already, and bytes that had to get them. */
  readonly pagesReusedBytes: number;
  readonly pagesFreshBytes: number;
  /** Now: pieces of the store that are given out; of them granules cut into slots for small values. */
  readonly extents: number;
  readonly slabs: number;
  readonly slabSlots: number;
  readonly slabSlotsUsed: number;
  /** Now: 64 KiB pieces of the control memory by what is in them. */
  readonly entryChunks: number;
  readonly recordChunks: number;
  readonly ringChunks: number;
  readonly eventChunks: number;
  readonly processes: readonly ProcessStats[];
}

/** What a process did since it attached; with pid 0 all processes of a kind and language that ended. */
export interface ProcessStats {
  readonly pid: number;
  readonly endpoint: number;
  /** EndpointKind, or 1 for the raylet. */
  readonly kind: number;
  readonly language: number;
  readonly job: number;
  /** With pid 0: how many ended. */
  readonly ended: number;
  /** Rings that lead to it, the records in them that it has not taken, and those of the fullest. */
  readonly rings: number;
  readonly ringDepth: number;
  readonly deepestRing: number;
  readonly counts: ProcessCounts;
}

/** Counters of one process: Count of native/store/layout.h. */
export interface ProcessCounts {
  readonly tasksSubmitted: number;
  readonly actorCallsSubmitted: number;
  readonly tasksSent: number;
  readonly leasesGranted: number;
  readonly retries: number;
  readonly retracted: number;
  readonly givenUp: number;
  readonly callsExecuted: number;
  readonly callsFinished: number;
  readonly callsFailed: number;
  readonly callsRetried: number;
  readonly callsCancelled: number;
  readonly recordsSent: number;
  readonly bellsRung: number;
  readonly puts: number;
  readonly putBytes: number;
  readonly zeroCopyBytes: number;
  readonly extentRequests: number;
  readonly slabGranules: number;
  readonly populatedBytes: number;
  readonly pagesReusedBytes: number;
}

/** Counters of this endpoint and of the binding. */
export interface NativeCounters {
  readonly callsSubmitted: number;
  readonly callsExecuted: number;
  readonly bellsRung: number;
  readonly bellsSaved: number;
  readonly puts: number;
  readonly putBytes: number;
  readonly zeroCopyBytes: number;
  readonly retries: number;
  readonly retracted: number;
  /** Handles with a count. */
  readonly liveHandles: number;
  /** Zero-copy views whose ArrayBuffer lives. */
  readonly liveViews: number;
  readonly liveViewBytes: number;
  readonly openPuts: number;
  readonly openCalls: number;
  readonly eventBatches: number;
  readonly eventRecords: number;
}
