// SPDX-License-Identifier: Apache-2.0
// Goal: who may be ended for memory: running tasks in workers that are there, living actors with what restarts they have left.
// Method: rows as the observer writes them, and a GCS state made by its own steps.

import t from "tap";
import { ActorPhase, type ActorRow, emptyState } from "../../../ts/gcs/state.ts";
import type { NativeBinding } from "../../../ts/native/binding.ts";
import { memoryCandidates } from "../../../ts/runtime/memory-guard.ts";

const rowBytes = 160;

/** Rows with numbers of 32 bits at their places. */
function rows(...given: Readonly<Record<number, number>>[]): Uint8Array {
  const bytes = new Uint8Array(given.length * rowBytes);
  const view = new DataView(bytes.buffer);
  given.forEach((row, index) => {
    for (const [at, value] of Object.entries(row))
      view.setUint32(index * rowBytes + Number(at), value, true);
  });
  return bytes;
}

function nodeOf(observed: Readonly<Record<number, Uint8Array>>): Pick<NativeBinding, "observe"> {
  return { observe: (what) => observed[what] ?? new Uint8Array(0) };
}

t.test("a task whose worker is gone is nobody, nor one of the next worker there", async (t) => {
  const run = (endpoint: number, serial: number): Record<number, number> => ({
    0: serial,
    24: endpoint,
    28: serial,
    32: 1000 + serial,
    36: 1,
  });
  const native = nodeOf({
    3: rows({ 0: 4, 12: 9 }, { 0: 5, 12: 7 }),
    5: rows(run(4, 9), run(5, 6), run(6, 8)),
  });
  const found = memoryCandidates({ native, actors: new Map(), tasks: () => [] });
  t.match(found, [{ kind: "task", peer: 4n | (9n << 32n), pid: 1009, retriable: true }]);
  t.equal(found.length, 1);
});

t.test("an actor may run again while it has restarts left", async (t) => {
  const row = (actor: string, maxRestarts: number, restarts: number, ending: string | null) =>
    ({
      spec: { actor, maxRestarts, handle: { name: null, className: actor } },
      job: 1,
      owner: null,
      phase: ActorPhase.alive,
      peer: 3n,
      pid: 7,
      restarts,
      ending,
    }) as ActorRow;
  const actors = emptyState().actors;
  for (const one of [
    row("never", 0, 0, null),
    row("left", 2, 1, null),
    row("used up", 2, 2, null),
    row("always", -1, 9, null),
    row("ending", -1, 0, "kill"),
    { ...row("dead", -1, 0, null), phase: ActorPhase.dead },
    { ...row("placed", -1, 0, null), peer: null },
  ])
    actors.set(one.spec.actor, one);
  const found = memoryCandidates({ native: nodeOf({}), actors, tasks: () => [] });
  t.same(
    found.map((one) => [one.id, one.retriable]),
    [
      ["never", false],
      ["left", true],
      ["used up", false],
      ["always", true],
      ["ending", false],
    ],
  );
});
