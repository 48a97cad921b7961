// SPDX-License-Identifier: Apache-2.0
// What the tests of the command share: asking it, and a runtime that has something of each kind to show.

import { Counter, get, type ObjectRef, put, type Runtime, remote, state } from "polyray";
import t, { type Test } from "tap";
import {
  type Ended,
  polyray,
  rejection,
  scratchFolder,
  startRuntime,
  until,
} from "../mixed/support.ts";

process.env.POLYRAY_TMPDIR = scratchFolder();

/** Columns of a terminal that does not say how many it has. */
export const width = 80;

export type Row = Record<string, unknown>;

/** Runs the command, which must succeed. */
export async function ok(t: Test, ...args: string[]): Promise<Ended> {
  const ended = await polyray(args);
  t.equal(ended.code, 0, `${args.join(" ")}: ${ended.err}`);
  return ended;
}

/** The JSON document that the command prints. */
export async function json<T>(t: Test, ...args: string[]): Promise<T> {
  return JSON.parse((await ok(t, ...args, "--json")).out) as T;
}

/** The name of the function that has run 150 times. */
export const long = "a_function_with_a_very_long_name_that_no_terminal_has_room_for";

/** A runtime with finished, failed and running tasks, an actor of the class Member, values and a counter. */
export async function busyRuntime(): Promise<{
  runtime: Runtime;
  /** A value of 800000 bytes. */
  big: ObjectRef<Float64Array>;
  /** The task that runs. */
  sleeper: ObjectRef<void>;
}> {
  const runtime = await startRuntime({ namespace: "cli" });
  const square = remote((x: number) => x * x, { name: long });
  const fails = remote(
    function fails(): void {
      throw new Error("no such luck\nsecond line");
    },
    { maxRetries: 0 },
  );
  class Member {
    hello(): string {
      return "hello";
    }
  }
  const member = remote(Member, { name: "m" }).remote();
  t.equal(await get(member.hello.remote()), "hello");
  await get(square.map(Array.from({ length: 150 }, (_, i) => i)));
  await rejection(get(fails.remote()));
  const big = put(new Float64Array(100_000));
  new Counter("served", { tagKeys: ["route"] }).inc(3, { route: "/x" });
  const sleeper = remote(async function sleeper(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 600_000));
  }).remote();
  await until(
    async () => (await state.listTasks({ filters: [["state", "=", "RUNNING"]] })).length === 1,
    "the sleeper runs",
  );
  t.teardown(() => void [member, big]); // what nobody holds is gone at the next collection
  return { runtime, big, sleeper };
}
