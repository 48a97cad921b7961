// SPDX-License-Identifier: Apache-2.0
//
// Goal: the error table is whole, and errors keep class, message, stacks, cause and fields on their way.
// Method: the table against the classes; errors through envelopes; envelopes written by Python.

import { readFileSync } from "node:fs";
import t from "tap";
import { errorRows } from "../../../ts/base/error-codes.ts";
import {
  ActorDiedError,
  errorClasses,
  errorOfCode,
  errorOfNumber,
  makeError,
  ObjectLostError,
  OwnerDiedError,
  PolyrayError,
  PythonError,
  TaskError,
} from "../../../ts/base/errors.ts";
import {
  decode,
  encode,
  encodeError,
  encodeTaskError,
  isErrorEnvelope,
  plainContext,
} from "../../../ts/object/serialize.ts";

const through = (error: unknown) =>
  decode(encode(error, plainContext).toBytes(), plainContext) as Error;
const failed = (thrown: unknown) =>
  decode(
    encodeTaskError(thrown, { taskName: "square", pid: 7 }, plainContext).toBytes(),
    plainContext,
  ) as TaskError;

t.test("every row has its class, and makes it", async (t) => {
  for (const row of errorRows) {
    const error = errorOfCode(row.name, "x");
    t.equal(error.constructor, errorClasses.get(row.className), row.name);
    t.equal(error.code, row.name);
    t.equal(error.name, row.tsName);
    t.ok(error instanceof PolyrayError);
  }
  t.ok(errorOfCode("OWNER_DIED", "x") instanceof ObjectLostError);
  t.equal(errorOfNumber(65000, "x").code, "SYSTEM");
});

t.test("a made message has the tag, the reason and what to do", async (t) => {
  t.match(
    makeError("OBJECT_LOST", "abc on node 1: the node died").message,
    /^\[object lost\] abc on node 1: the node died\. Run /,
  );
  t.equal(
    makeError("INVALID_ARGUMENT", "put takes a value").message,
    "[invalid argument] put takes a value.",
    "where only the reason knows what to do",
  );
});

t.test("errors of polyray cross with their details", async (t) => {
  for (const row of errorRows.filter((r) => r.kind !== "task")) {
    const error = errorOfCode(row.name, "why", {
      taskId: "t",
      nodeId: "n",
      actorId: "a",
      pid: 3,
      taskName: "f",
    });
    const back = through(error) as PolyrayError;
    t.equal(back.constructor, error.constructor, row.name);
    t.match(back, {
      code: row.name,
      message: "why",
      taskId: "t",
      nodeId: "n",
      actorId: "a",
      pid: 3,
      taskName: "f",
    });
  }
});

t.test("a failed task keeps the class, message, stack and fields of what was thrown", async (t) => {
  const thrown = Object.assign(new RangeError("bad"), { errno: 5, handler: () => 1 });
  const error = failed(thrown);
  t.ok(error instanceof TaskError);
  t.match(error, { code: "TASK_FAILED", taskName: "square", pid: 7 });
  t.match(error.message, /square: RangeError: bad/);
  const cause = error.cause as RangeError & { errno: number };
  t.ok(cause instanceof RangeError);
  t.equal(cause.message, "bad");
  t.equal(cause.errno, 5);
  t.equal(cause.stack, thrown.stack);
  t.equal(error.remoteStack, thrown.stack);
  t.notOk("handler" in cause, "a field that cannot be sent is left out");
});

t.test("causes, groups and unknown classes come back", async (t) => {
  class MyError extends Error {
    override name = "MyError";
  }
  const back = through(new MyError("m", { cause: new TypeError("inner", { cause: "text" }) }));
  t.equal(back.name, "MyError");
  t.ok(back.cause instanceof TypeError);
  t.equal((back.cause as Error).cause, "text");
  const group = through(new AggregateError([new Error("a"), 5], "many")) as AggregateError;
  t.ok(group instanceof AggregateError);
  t.equal((group.errors[0] as Error).message, "a");
  t.equal(through(new DOMException("stop", "AbortError")).name, "AbortError");
});

t.test("an error whose cause is itself can be sent", async (t) => {
  const error = new Error("loop");
  error.cause = error;
  t.equal(failed(error).message, "[task failed] square: Error: loop");
});

t.test("what is thrown and is no error is said so", async (t) => {
  for (const thrown of [
    "text",
    5,
    null,
    undefined,
    Symbol("s"),
    { a: 1 },
    () => 1,
    Promise.resolve(),
  ]) {
    const error = failed(thrown);
    t.match(error.message, /is not an Error/, String(typeof thrown));
  }
  t.equal(failed("text").cause, "text");
});

t.test("a failure of a nested task keeps its cause and names the chain", async (t) => {
  const inner = failed(new RangeError("deep"));
  const bytes = encodeTaskError(inner, { taskName: "outer" }, plainContext).toBytes();
  const outer = decode(bytes, plainContext) as TaskError;
  t.ok(outer.cause instanceof RangeError);
  t.same(outer.chain, ["outer", "square"]);
  t.match(outer.message, /outer > square: RangeError: deep/);
});

t.test("an error of the runtime inside of a task is its cause", async (t) => {
  t.ok(failed(new ActorDiedError("gone")).cause instanceof ActorDiedError);
});

t.test("only thrown errors mark the envelope", async (t) => {
  t.ok(isErrorEnvelope(encodeError(new OwnerDiedError("x"), plainContext).toBytes()));
  t.notOk(isErrorEnvelope(encode(new Error("x"), plainContext).toBytes()));
});

t.test("a Python error has its class name and traceback, and goes back unchanged", async (t) => {
  const { python } = JSON.parse(
    readFileSync(new URL("../../contract/values/opaque.json", import.meta.url), "utf8"),
  ) as { python: string };
  const error = decode(Buffer.from(python, "hex"), plainContext) as TaskError;
  t.ok(error instanceof TaskError);
  const cause = error.cause as PythonError;
  t.ok(cause instanceof PythonError);
  t.match(cause, { className: "ValueError", moduleName: "builtins", message: "bad value" });
  t.match(cause.traceback, /Traceback/);
  const again = through(error);
  t.match(again.cause, { className: "ValueError", traceback: cause.traceback });
  t.ok((again.cause as PythonError).original, "the exception itself travels on");
});
