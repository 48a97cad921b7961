// SPDX-License-Identifier: Apache-2.0
// What can happen to the control service (events) and what it wants done (effects). Plain data on both sides, so that
// step(state, event) -> effects can be simulated under a seed. Time arrives inside events.

import type { ActorSpec, Death, GroupRow, JobRow, NodeRow, Peer } from "./state.ts";

export type GcsEvent =
  | { readonly type: "node_joined"; readonly node: NodeRow }
  | { readonly type: "job_started"; readonly row: JobRow }
  | {
      readonly type: "job_described";
      readonly job: number;
      readonly namespace: string;
      readonly entrypoint: string;
    }
  | { readonly type: "job_ended"; readonly job: number; readonly atMs: number }
  | {
      readonly type: "actor_created";
      readonly spec: ActorSpec;
      readonly job: number;
      readonly owner: Peer | null;
    }
  | {
      readonly type: "actor_placed";
      readonly actor: string;
      readonly peer: Peer;
      readonly pid: number;
      readonly lease: number;
      readonly incarnation: number;
    }
  | {
      readonly type: "actor_unplaceable";
      readonly actor: string;
      readonly incarnation: number;
      readonly death: Death;
    }
  | { readonly type: "actor_constructed"; readonly actor: string; readonly incarnation: number }
  | {
      readonly type: "actor_construct_failed";
      readonly actor: string;
      readonly incarnation: number;
      readonly death: Death;
    }
  | {
      readonly type: "actor_killed";
      readonly actor: string;
      readonly noRestart: boolean;
      readonly reason: string;
    }
  | { readonly type: "actor_exiting"; readonly actor: string; readonly reason: string }
  | { readonly type: "actor_out_of_scope"; readonly actor: string }
  | { readonly type: "group_created"; readonly row: GroupRow }
  | { readonly type: "group_ready"; readonly group: string; readonly atMs: number }
  | { readonly type: "group_removed"; readonly group: string }
  | {
      readonly type: "worker_gone";
      readonly peer: Peer;
      readonly reason: string;
      readonly intended: boolean;
      /** It ended by itself without a failure: what it created lives on. */
      readonly clean: boolean;
    };

export type GcsEffect =
  /** Ask the raylet for a dedicated worker. */
  | { readonly type: "place"; readonly actor: string; readonly incarnation: number }
  /** Run the constructor there. */
  | {
      readonly type: "construct";
      readonly actor: string;
      readonly incarnation: number;
      readonly peer: Peer;
    }
  /** Tell all who watch. */
  | { readonly type: "publish"; readonly actor: string }
  /** End the worker process. */
  | { readonly type: "kill"; readonly peer: Peer; readonly force: boolean }
  /** Give a lease back that is not needed any more. */
  | { readonly type: "return_lease"; readonly lease: number }
  /** The creation arguments and the spec are not needed any more. */
  | { readonly type: "drop_spec"; readonly actor: string }
  /** Ask the raylet to reserve a placement group; it says group_ready. */
  | { readonly type: "reserve_group"; readonly group: string }
  /** Give its resources back and end what runs in it. */
  | { readonly type: "release_group"; readonly group: string }
  /** Tell who waits for it. */
  | { readonly type: "group_changed"; readonly group: string }
  /** Tell the raylet to end a job's workers and free what it kept. */
  | { readonly type: "end_job"; readonly job: number };
