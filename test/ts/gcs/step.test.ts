// SPDX-License-Identifier: Apache-2.0
// Goal: the control service's machine keeps its invariants whatever comes, in whatever order.
// Method: named cases for each arrow of docs/states/actor.md, and seeded random walks with validate() after every step.

import t from "tap";
import type { GcsEffect, GcsEvent } from "../../../ts/gcs/events.ts";
import { ActorPhase, type ActorSpec, emptyState, type GcsState } from "../../../ts/gcs/state.ts";
import { step } from "../../../ts/gcs/step.ts";
import { validate } from "../../../ts/gcs/validate.ts";

function spec(actor: string, change: Partial<ActorSpec> & { name?: string } = {}): ActorSpec {
  const { name, ...rest } = change;
  return {
    actor,
    spec: "00".repeat(16),
    handle: {
      language: "ts",
      className: "Counter",
      methods: ["incr"],
      maxTaskRetries: 0,
      name: name ?? null,
    },
    namespace: "",
    detached: false,
    qualName: null,
    maxRestarts: 0,
    isAsync: false,
    maxConcurrency: 1,
    resources: {},
    group: null,
    workerKey: "{}",
    args: new Uint8Array(0),
    refs: [],
    topRefs: 0,
    ...rest,
  };
}

function types(effects: readonly GcsEffect[]): string[] {
  return effects.map((effect) => effect.type);
}

function alive(
  state: GcsState,
  actor: string,
  peer: bigint,
  change: Parameters<typeof spec>[1] = {},
): void {
  step(state, { type: "actor_created", spec: spec(actor, change), job: 1, owner: null });
  step(state, { type: "actor_placed", actor, peer, pid: 9, lease: 7, incarnation: 0 });
  step(state, { type: "actor_constructed", actor, incarnation: 0 });
}

t.test("an actor is placed, constructed, published", async (t) => {
  const state = emptyState();
  t.same(types(step(state, { type: "actor_created", spec: spec("a"), job: 1, owner: null })), [
    "place",
  ]);
  t.same(
    types(
      step(state, { type: "actor_placed", actor: "a", peer: 5n, pid: 9, lease: 1, incarnation: 0 }),
    ),
    ["construct"],
  );
  t.same(types(step(state, { type: "actor_constructed", actor: "a", incarnation: 0 })), [
    "publish",
  ]);
  t.equal(state.actors.get("a")?.phase, ActorPhase.alive);
  t.same(validate(state), []);
});

t.test(
  "a worker's death restarts the actor as often as maxRestarts says, then it is dead",
  async (t) => {
    const state = emptyState();
    alive(state, "a", 5n, { maxRestarts: 1, name: "n" });
    const gone: GcsEvent = {
      type: "worker_gone",
      peer: 5n,
      reason: "killed",
      intended: false,
      clean: false,
    };
    t.same(types(step(state, gone)), ["publish", "place"]);
    step(state, { type: "actor_placed", actor: "a", peer: 6n, pid: 9, lease: 2, incarnation: 1 });
    step(state, { type: "actor_constructed", actor: "a", incarnation: 1 });
    t.equal(state.actors.get("a")?.incarnation, 1);
    t.same(types(step(state, { ...gone, peer: 6n })), ["publish", "drop_spec"]);
    t.equal(state.actors.get("a")?.phase, ActorPhase.dead);
    t.equal(state.names.size, 0, "its name is free again");
    t.same(validate(state), []);
  },
);

t.test("a grant that comes after the actor died goes back", async (t) => {
  const state = emptyState();
  step(state, { type: "actor_created", spec: spec("a"), job: 1, owner: null });
  step(state, { type: "actor_killed", actor: "a", noRestart: true, reason: "test" });
  t.same(
    types(
      step(state, { type: "actor_placed", actor: "a", peer: 5n, pid: 9, lease: 1, incarnation: 0 }),
    ),
    ["return_lease", "kill"],
  );
});

t.test("an actor out of scope before it is made ends once it is made", async (t) => {
  const state = emptyState();
  step(state, { type: "actor_created", spec: spec("a"), job: 1, owner: null });
  t.same(step(state, { type: "actor_out_of_scope", actor: "a" }), []);
  step(state, { type: "actor_placed", actor: "a", peer: 5n, pid: 9, lease: 1, incarnation: 0 });
  t.same(types(step(state, { type: "actor_constructed", actor: "a", incarnation: 0 })), [
    "kill",
    "publish",
    "drop_spec",
  ]);
});

t.test("a detached actor outlives handles and job", async (t) => {
  const state = emptyState();
  step(state, {
    type: "job_started",
    row: {
      job: 1,
      peer: 1n,
      pid: 1,
      language: "ts",
      namespace: "",
      entrypoint: "",
      startedAtMs: 0,
      endedAtMs: null,
    },
  });
  alive(state, "a", 5n, { detached: true });
  alive(state, "b", 6n);
  step(state, { type: "actor_out_of_scope", actor: "a" });
  t.ok(types(step(state, { type: "job_ended", job: 1, atMs: 1 })).includes("end_job"));
  t.equal(state.actors.get("a")?.phase, ActorPhase.alive);
  t.equal(state.actors.get("b")?.phase, ActorPhase.dead);
});

t.test("exitActor is not restarted", async (t) => {
  const state = emptyState();
  alive(state, "a", 5n, { maxRestarts: -1 });
  step(state, { type: "actor_exiting", actor: "a", reason: "it left" });
  step(state, { type: "worker_gone", peer: 5n, reason: "exit", intended: false, clean: false });
  t.equal(state.actors.get("a")?.death?.reason, "it left");
});

t.test(
  "what an actor or a crashed worker created ends with it, unless it is detached",
  async (t) => {
    const state = emptyState();
    const make = (actor: string, peer: bigint, owner: bigint, detached = false): void => {
      step(state, { type: "actor_created", spec: spec(actor, { detached }), job: 1, owner });
      step(state, { type: "actor_placed", actor, peer, pid: 9, lease: 7, incarnation: 0 });
      step(state, { type: "actor_constructed", actor, incarnation: 0 });
    };
    make("parent", 5n, 1n);
    make("child", 6n, 5n);
    make("grandchild", 7n, 6n);
    make("detached", 8n, 5n, true);
    step(state, { type: "actor_killed", actor: "parent", noRestart: true, reason: "killed" });
    t.equal(state.actors.get("child")?.death?.reason, "its owner has died");
    t.equal(state.actors.get("grandchild")?.phase, ActorPhase.dead);
    t.equal(state.actors.get("detached")?.phase, ActorPhase.alive);
    make("of task", 10n, 9n);
    const gone = { type: "worker_gone", peer: 9n, reason: "ended", intended: false } as const;
    step(state, { ...gone, clean: true });
    t.equal(state.actors.get("of task")?.phase, ActorPhase.alive, "its worker was idle");
    step(state, { ...gone, clean: false });
    t.equal(state.actors.get("of task")?.phase, ActorPhase.dead);
    t.same(validate(state), []);
  },
);

/** Small seeded generator (mulberry32). */
function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let x = Math.imul(a ^ (a >>> 15), 1 | a);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

function randomEvent(next: () => number, state: GcsState): GcsEvent {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const actor = pick(["a", "b", "c", "d"]);
  const incarnation = Math.floor(next() * 3);
  const peer = BigInt(1 + Math.floor(next() * 6));
  const death = { code: "ACTOR_DIED", reason: "random", cause: null } as const;
  switch (Math.floor(next() * 10)) {
    case 0:
    case 1: {
      const known = state.actors.get(actor);
      if (known !== undefined) return { type: "actor_out_of_scope", actor };
      const maxRestarts = pick([0, 1, 2, -1]);
      return {
        type: "actor_created",
        spec: spec(actor, {
          maxRestarts,
          detached: next() < 0.3,
          ...(next() < 0.5 ? { name: `n-${actor}` } : {}),
        }),
        job: 1,
        owner: next() < 0.5 ? null : BigInt(Math.floor(next() * 4)),
      };
    }
    case 2:
    case 3:
      // A peer holds one actor at a time, as the raylet's dedicated workers do.
      return [...state.actors.values()].some((row) => row.peer === peer)
        ? { type: "worker_gone", peer, reason: "random", intended: false, clean: false }
        : { type: "actor_placed", actor, peer, pid: 9, lease: 1, incarnation };
    case 4:
      return { type: "actor_constructed", actor, incarnation };
    case 5:
      return { type: "actor_construct_failed", actor, incarnation, death };
    case 6:
      return {
        type: "worker_gone",
        peer,
        reason: "random",
        intended: next() < 0.2,
        clean: next() < 0.5,
      };
    case 7:
      return { type: "actor_killed", actor, noRestart: next() < 0.5, reason: "random" };
    case 8:
      return { type: "actor_unplaceable", actor, incarnation, death };
    default:
      return { type: "actor_exiting", actor, reason: "random" };
  }
}

t.test("random walks keep the invariants (replay: POLYRAY_SEED)", async (t) => {
  const first = Number(process.env.POLYRAY_SEED ?? 1);
  const count = process.env.POLYRAY_SEED === undefined ? 300 : 1;
  for (let seed = first; seed < first + count; seed++) {
    const next = random(seed);
    const state = emptyState();
    for (let i = 0; i < 200; i++) {
      const event = randomEvent(next, state);
      step(state, event);
      const wrong = validate(state);
      if (wrong.length > 0) {
        t.fail(`seed ${seed}, step ${i}, ${event.type}: ${wrong.join("; ")}`);
        return;
      }
    }
  }
  t.pass(`${count} walks of 200 steps`);
});
