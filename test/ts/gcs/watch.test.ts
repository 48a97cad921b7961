// SPDX-License-Identifier: Apache-2.0
// Goal: who asks for an actor before its creation arrived is told of it later, and who asks for one that never comes is told
// so. Method: the service over a host that only records what it is asked to do.

import { decode } from "@msgpack/msgpack";
import t from "tap";
import { idToBytes } from "../../../ts/base/ids.ts";
import { type GcsHost, GcsService } from "../../../ts/gcs/service.ts";
import { ActorPhase } from "../../../ts/gcs/state.ts";

interface Pushed {
  readonly peer: bigint;
  readonly phase: number;
}

function service(): { gcs: GcsService; pushed: Pushed[] } {
  const pushed: Pushed[] = [];
  const host: GcsHost = {
    place: () => Promise.resolve({ peer: 9n, pid: 1, lease: 1 }),
    construct: () => Promise.resolve({ kind: "made" as const }),
    kill: () => undefined,
    returnLease: () => undefined,
    endJob: () => undefined,
    hold: () => undefined,
    drop: () => undefined,
    reserveGroup: () => undefined,
    releaseGroup: () => undefined,
    push: (peer, _topic, payload) =>
      pushed.push({ peer, phase: (decode(payload) as { phase: number }).phase }),
    deathEnvelope: () => new Uint8Array(1),
    nowMs: () => 0,
  };
  return { gcs: new GcsService(host), pushed };
}

const actor = "0123456789abcdef0123456789abcdef";

t.test("a watcher that comes before the creation learns when the actor lives", async (t) => {
  const { gcs, pushed } = service();
  const answer = await gcs.request("actor.watch", { actor: idToBytes(actor) }, 5n);
  t.equal(answer.phase, ActorPhase.pending);
  gcs.request(
    "actor.create",
    {
      actor: idToBytes(actor),
      spec: idToBytes(actor),
      args: new Uint8Array(0),
      className: "C",
      handle: undefined,
    },
    4n,
  );
  await new Promise((resolve) => setImmediate(resolve));
  t.same(pushed, [{ peer: 5n, phase: ActorPhase.alive }]);
});

t.test("an actor that never comes is dead after a while", async (t) => {
  const { gcs, pushed } = service();
  const answer = await gcs.request("actor.watch", { actor: idToBytes(actor) }, 5n);
  t.equal(answer.phase, ActorPhase.pending);
  while (pushed.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  t.same(pushed, [{ peer: 5n, phase: ActorPhase.dead }]);
});
