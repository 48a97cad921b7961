// SPDX-License-Identifier: Apache-2.0
// Goal: wrong questions and a missing runtime end with one clear line and an exit code: 2 for the asker's mistake, else 1.
// Method: the command in processes of its own, where no runtime runs.

import t from "tap";
import { polyray, scratchFolder } from "../mixed/support.ts";

process.env.POLYRAY_TMPDIR = scratchFolder();

t.test("without a runtime every question says so and fails", async (t) => {
  const questions = [["list", "tasks"], ["get", "tasks", "x"], ["metrics"], ["status"]];
  for (const { code, out, err } of await Promise.all(questions.map((args) => polyray(args)))) {
    t.equal(code, 1);
    t.equal(out, "");
    t.match(err, /^polyray: \[system\] no runtime of this user is running here\. Start one/);
    t.equal(err.trim().split("\n").length, 1, "one line, no stack");
  }
  const { code, err } = await polyray(["list", "tasks", "--address", "127.0.0.1:1"]);
  t.equal(code, 1);
  t.match(err, /no runtime found at address "127\.0\.0\.1:1"/);
});

t.test("wrong questions end with 2 and say what is right", async (t) => {
  const wrong = [
    [["list"], /missing required argument/],
    [["list", "cats"], /"cats" is no kind of state\. Kinds: tasks, actors/],
    [["list", "tasks", "--filter", "state"], /key=value/],
    [["list", "tasks", "--filter", "bogus=1"], /Fields of tasks/],
    [["list", "tasks", "--limit", "0"], /from 1 to 10000/],
    [["list", "tasks", "--format", "xml"], /Allowed choices/],
    [["summary", "nodes"], /no kind of state\. Kinds: tasks, actors, objects/],
    [["list", "tasks", "--bogus"], /unknown option/],
  ] as const;
  const ended = await Promise.all(wrong.map(([args]) => polyray([...args])));
  for (const [i, { code, err, out }] of ended.entries()) {
    t.equal(code, 2, wrong[i]?.[0].join(" ") ?? "");
    t.equal(out, "");
    t.match(err, wrong[i]?.[1]);
  }
  const unknown = await polyray(["list", "cluster-events"]);
  t.equal(unknown.code, 1);
  t.match(unknown.err, /not recorded yet/);
  const { out } = await polyray(["--help"]);
  for (const command of ["list", "get", "summary", "memory", "timeline", "metrics", "status"])
    t.match(out, new RegExp(`^ +${command} .*`, "m"));
  t.match(
    (await polyray(["list", "--help"])).out,
    /--filter[\s\S]*--limit|--address[\s\S]*--filter/,
  );
});
