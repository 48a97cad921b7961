// SPDX-License-Identifier: Apache-2.0
// What ran when, in the trace form that chrome://tracing and Perfetto read. Pure.
//
// A process of the trace is a worker; calls that overlap in one process (async actors, threads) stand in lanes of their own,
// since a trace's thread holds one thing at a time. Times are microseconds since 1970.

import { microseconds, type TaskRow } from "./task-log.ts";

type Event = Record<string, unknown>;

const maxLanes = 1000;

/** The runs of tasks and methods as trace events, with the names of processes and lanes first. */
export function traceEvents(rows: readonly TaskRow[], nowUs = Date.now() * 1000): Event[] {
  const runs = rows
    .flatMap((row) => {
      const [start, end] = row[microseconds] ?? [null, null];
      const pid = row.worker_pid as number | null;
      return start === null || pid === null
        ? []
        : [{ row, pid, start, end: end ?? Math.max(start, nowUs) }];
    })
    .sort((a, b) => a.start - b.start);
  const lanes = new Map<number, number[]>(); // by process: when each lane is free again
  const names: Event[] = [];
  const events = runs.map(({ row, pid, start, end }) => {
    let ends = lanes.get(pid);
    if (ends === undefined) {
      ends = [];
      lanes.set(pid, ends);
      names.push({ name: "process_name", ph: "M", pid, args: { name: `worker:${pid}` } });
    }
    let lane = ends.findIndex((free) => free <= start);
    if (lane === -1) lane = Math.min(ends.length, maxLanes - 1);
    const tid = pid * maxLanes + lane;
    if (lane === ends.length)
      names.push({ name: "thread_name", ph: "M", pid, tid, args: { name: `lane ${lane}` } });
    ends[lane] = end;
    return {
      cat: `task::${row.name}`,
      name: row.name,
      ph: "X",
      pid,
      tid,
      ts: start,
      dur: Math.max(0, end - start),
      cname: row.state === "FAILED" ? "terrible" : "generic_work",
      args: {
        task_id: row.task_id,
        job_id: row.job_id,
        attempt_number: row.attempt_number,
        func_or_class_name: row.func_or_class_name,
        actor_id: row.actor_id,
        worker_id: row.worker_id,
        state: row.state,
      },
    };
  });
  return [...names, ...events];
}
