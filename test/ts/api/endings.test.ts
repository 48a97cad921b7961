// SPDX-License-Identifier: Apache-2.0
// Goal: however a driver ends, its workers, what they started, and its session end too.
// Method: a driver process with a worker and a grandchild; /proc and the session folder are looked at afterwards.

import { existsSync } from "node:fs";
import t from "tap";
import { driver, until } from "./harness.ts";

for (const [how, code] of [
  ["returns", 0],
  ["exits", 5],
  ["throws", 1],
  ["killed", null],
] as const) {
  t.test(`a driver that ${how} leaves no process and no session`, async (t) => {
    const ended = await driver(how);
    t.equal(ended.code, code);
    const [, pids = "", folder = ""] = /ready (\S+) (\S+)/.exec(ended.out) ?? [];
    t.ok(folder);
    const left = (): string[] => pids.split(",").filter((pid) => existsSync(`/proc/${pid}`));
    await until(() => left().length === 0 && !existsSync(`${folder}/node.json`));
    t.same(left(), []);
  });
}
