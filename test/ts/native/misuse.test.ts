// SPDX-License-Identifier: Apache-2.0
// Goal: wrong use of the binding is an error with a code, never a crash and never silence.
// Method: a grid of calls in each state (not attached, attached, detached), and each handle used
// after its end.

import t from "tap";
import { PolyrayError } from "../../../ts/base/errors.ts";
import {
  EntryFlag,
  envelopeRefs,
  type NativeBinding,
  ObjectStatus,
  Released,
} from "../../../ts/native/binding.ts";
import { loadNative } from "../../../ts/native/load.ts";
import { attachBare, attachOptions, startNode } from "./harness.ts";

const bytes = new Uint8Array(8);

/** Every function that needs an endpoint, with arguments of the right types. */
const calls: Record<string, (native: NativeBinding) => unknown> = {
  detach: (n) => n.detach(),
  pump: (n) => n.pump(),
  startControlThread: (n) => n.startControlThread(),
  counters: (n) => n.counters(),
  handleOfId: (n) => n.handleOfId("0".repeat(32)),
  importIds: (n) => n.importIds(new Uint8Array(16), 0, 1),
  createActorObject: (n) => n.createActorObject(),
  putSmall: (n) => n.putSmall(bytes, 8, null, 0),
  putParts: (n) => n.putParts(8, [bytes], Float64Array.of(0), null, 0, 0),
  putBegin: (n) => n.putBegin(8, 0),
  putSeal: (n) => n.putSeal(1, null, 0),
  putAbort: (n) => n.putAbort(1),
  status: (n) => n.status(1),
  subscribe: (n) => n.subscribe(1, false),
  read: (n) => n.read(1, false),
  readSmall: (n) => n.readSmall(1, false),
  readMany: (n) => n.readMany(Uint32Array.of(1), 0),
  objectSize: (n) => n.objectSize(1),
  waitSync: (n) => n.waitSync(Uint32Array.of(1), 1, 0),
  submitTask: (n) => n.submitTask(1, bytes, 8, null, 0, 1, 0, -2, 0),
  submitActorCall: (n) => n.submitActorCall(1, "m", bytes, 8, null, 0, 1, 0, -2, 0),
  serviceRequest: (n) => n.serviceRequest(bytes),
  serviceCall: (n) => n.serviceCall(bytes, 0),
  returnSmall: (n) => n.returnSmall(1, 0, bytes, 8, null, false),
  reply: (n) => n.reply(1, 0),
  workerReady: (n) => n.workerReady(),
  setBlocked: (n) => n.setBlocked(true),
};

function codeOf(body: () => unknown): string | null {
  try {
    body();
    return null;
  } catch (error) {
    return error instanceof PolyrayError ? error.code : `not a PolyrayError: ${error}`;
  }
}

t.test("without an endpoint every call is refused", async (t) => {
  const native = loadNative();
  for (const [name, call] of Object.entries(calls))
    t.equal(
      codeOf(() => call(native)),
      "CLOSED",
      name,
    );
  t.equal(native.isAttached(), false);
  t.doesNotThrow(() => native.flush(), "a flush that comes late is harmless");
  t.doesNotThrow(() => native.setRef(true));
});

t.test("wrong types are named by argument", async (t) => {
  const native = loadNative() as unknown as Record<string, (...args: unknown[]) => unknown>;
  const wrong: [string, unknown[]][] = [
    ["releaseHandle", ["x"]],
    ["putSmall", ["bytes", 1, null, 0]],
    ["putSmall", [bytes, 9, null, 0]],
    ["putSmall", [bytes]],
    ["putBegin", [-1, 0]],
    ["handleOfId", ["xyz"]],
    ["handleOfId", ["G".repeat(32)]],
    ["attach", [{}, () => {}]],
    ["attach", [attachOptions({ socketName: "s", token: "t" }), null]],
    ["startRaylet", [{}]],
    ["setErrorFactory", [1]],
    ["putParts", [8, [bytes, bytes], Float64Array.of(0, 4), null, 0, 0]],
    ["submitTask", ["1", bytes, 8, null, 0, 1, 0, -2, 0]],
  ];
  for (const [name, args] of wrong) {
    t.equal(
      codeOf(() => native[name]?.(...args)),
      "INVALID_ARGUMENT",
      `${name}(${args.length})`,
    );
  }
});

t.test(
  "a socket that nobody listens on, and a wrong token, are told apart from success",
  async (t) => {
    const native = loadNative();
    t.ok(
      codeOf(() =>
        native.attach(attachOptions({ socketName: "polyray-nobody", token: "t" }), () => {}),
      ),
    );
    const node = startNode();
    t.equal(
      codeOf(() => native.attach(attachOptions({ ...node, token: "wrong" }), () => {})),
      "AUTHENTICATION",
    );
    t.equal(native.isAttached(), false);
    node.stop();
    t.equal(
      codeOf(() => native.stopRaylet(0)),
      "CLOSED",
      "a second stop",
    );
    t.equal(
      codeOf(() => native.rayletStats()),
      "CLOSED",
    );
  },
);

t.test("handles, puts and calls are refused after their end", async (t) => {
  const node = startNode();
  const { native, info } = attachBare(node);
  t.equal(
    codeOf(() => native.attach(attachOptions(node), () => {})),
    "ALREADY_EXISTS",
  );

  const handle = native.putSmall(bytes, 8, null, 0);
  native.releaseHandle(handle);
  const twice = native.putSmall(bytes, 8, null, 0);
  native.retainHandle(twice);
  const failed = native.putSmall(bytes, 8, null, EntryFlag.error);
  const fates = Uint32Array.of(handle, twice, twice, failed, 7);
  native.releaseHandles(fates, 4);
  const { counts, last, failed: kept } = Released;
  t.same([...fates], [counts, counts, last, kept, 7], "of many, each is told apart");
  t.equal(native.releaseHandle(failed), true);
  t.equal(
    codeOf(() => native.releaseHandles(fates, 6)),
    "INVALID_ARGUMENT",
  );
  for (const name of ["status", "objectSize", "idOf", "retainHandle", "releaseHandle"] as const) {
    t.equal(
      codeOf(() => native[name](handle)),
      "OBJECT_FREED",
      name,
    );
  }
  t.equal(
    codeOf(() => native.putSmall(bytes, 8, Uint32Array.of(handle), 0)),
    "OBJECT_FREED",
    "a freed ref inside a value",
  );
  t.equal(
    codeOf(() => native.read(handle, false)),
    "OBJECT_FREED",
  );
  t.equal(
    codeOf(() => native.waitSync(Uint32Array.of(handle), 1, 0)),
    "OBJECT_FREED",
  );

  const view = native.putBegin(100_000, 1000);
  const put = info.out[0] as number;
  const sealed = native.putSeal(put, null, 0);
  t.equal(view.byteLength, 0, "the view is detached by the seal");
  t.equal(
    codeOf(() => native.putSeal(put, null, 0)),
    "CLOSED",
    "a double seal",
  );
  t.equal(
    codeOf(() => native.putAbort(put)),
    "CLOSED",
  );
  t.equal(native.status(sealed), ObjectStatus.sealed);

  native.putBegin(100_000, 1000);
  const given = info.out[0] as number;
  native.putAbort(given);
  t.equal(
    codeOf(() => native.putSeal(given, null, 0)),
    "CLOSED",
    "a seal after an abort",
  );
  t.equal(
    codeOf(() => native.reply(7, 0)),
    "CLOSED",
    "a reply to a call that never was",
  );
  t.equal(
    codeOf(() => native.submitTask(99, bytes, 8, null, 0, 1, 0, -2, 0)),
    "INVALID_ARGUMENT",
    "an unknown spec",
  );
  t.equal(
    codeOf(() => native.submitTask(0, bytes, 8, null, 0, 0, 0, -2, 0)),
    "INVALID_ARGUMENT",
    "no returns",
  );
  t.equal(
    codeOf(() => native.putSmall(bytes, 8, envelopeRefs, 0)),
    "INVALID_ARGUMENT",
    "refs of an envelope that is none",
  );

  native.detach();
  t.equal(
    codeOf(() => native.status(sealed)),
    "CLOSED",
  );
  for (const [name, call] of Object.entries(calls))
    t.equal(
      codeOf(() => call(native)),
      "CLOSED",
      `${name} after detach`,
    );

  attachBare(node);
  t.equal(
    codeOf(() => native.status(sealed)),
    "OBJECT_FREED",
    "a handle of an earlier attach",
  );
  native.detach();
  node.stop();
});
