// SPDX-License-Identifier: Apache-2.0
// Goal: the command lists what a runtime runs and holds, for people and for programs: lists, rows,
// summaries.
// Method: the command in processes of its own against a runtime that this program embeds.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { cancel, shutdown } from "polyray";
import t from "tap";
import { polyray, root, run } from "../mixed/support.ts";
import { busyRuntime, json, long, ok, type Row, width } from "./support.ts";

t.test("an embedded runtime", async (t) => {
  const { big, sleeper } = await busyRuntime();

  await t.test("lists are aligned, fit 80 columns and have no colour", async (t) => {
    const all = ["tasks", "actors", "objects", "workers", "nodes", "jobs", "placement-groups"];
    const shown = await Promise.all(all.map((kind) => ok(t, "list", kind)));
    for (const [i, { out }] of shown.entries()) {
      const lines = out.trimEnd().split("\n");
      for (const line of lines) t.ok([...line].length <= width, `${all[i]}: ${line}`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: escapes are what must not be there
      t.notMatch(out, /\u001b/);
      if (all[i] === "placement-groups") t.match(out, /No placement-groups match/);
      else t.match(lines[0], /^ *[A-Z_]+( +[A-Z_]+)+$/);
    }
    const { out } = await ok(t, "list", "tasks", "--limit", "1000");
    const [head = "", ...rows] = out.trimEnd().split("\n");
    const at = head.indexOf("STATE");
    for (const row of rows) t.match(row.slice(at), /^(FINISHED|FAILED|RUNNING)/);
    t.match(out, /a_f\S*…/);
    t.match(await ok(t, "list", "tasks"), { out: /100 of \d+ shown; --limit \d+ shows more\./ });
  });

  await t.test("filters, limits, details, formats", async (t) => {
    const failed = await json<Row[]>(t, "list", "tasks", "--filter", "state=failed", "--detail");
    t.match(failed, [{ name: "fails", state: "FAILED", error_message: /no such luck/ }]);
    t.equal(failed.length, 1);
    const two = await json<Row[]>(t, "list", "tasks", "-f", `name=${long}`, "--limit", "2");
    t.equal(two.length, 2);
    t.notOk("error_message" in (two[0] as Row));
    const others = await json<Row[]>(t, "list", "tasks", "-f", `name!=${long}`);
    t.ok(others.length >= 3 && others.every((row) => row.name !== long));
    const both = await json<Row[]>(
      t,
      "list",
      "tasks",
      "-f",
      "state=RUNNING",
      "-f",
      "type=ACTOR_TASK",
    );
    t.same(both, []);
    const blocks = await ok(t, "list", "actors", "--detail");
    t.match(blocks.out, /^---\nactor_id: .*\nclass_name: Member\nstate: ALIVE\n/);
    t.match((await ok(t, "list", "actors", "--format", "yaml")).out, /\nname: m\n/);
  });

  await t.test("one row by id", async (t) => {
    const [actor] = await json<Row[]>(t, "list", "actors");
    const one = await json<Row>(t, "get", "actors", String(actor?.actor_id));
    t.match(one, { class_name: "Member", name: "m", namespace: undefined, num_restarts: 0 });
    t.match((await ok(t, "get", "actor", String(actor?.actor_id))).out, /^class_name: Member$/m);
    t.match(await json<Row>(t, "get", "objects", big.id), {
      call_site: "put",
      object_size: /8000\d\d/,
    });
    const { code, err } = await polyray(["get", "tasks", "ffff"]);
    t.equal(code, 1);
    t.match(err, /there is no task of the id ffff/);
  });

  await t.test("summaries", async (t) => {
    const tasks = await json<{ summary: Record<string, Row> }>(t, "summary", "tasks");
    t.match(tasks.summary[long], { state_counts: { FINISHED: 150 } });
    t.match((await ok(t, "summary", "actors")).out, /Member +ALIVE: 1/);
    const objects = await json<{ total_size_bytes: number }>(t, "summary", "objects");
    t.ok(objects.total_size_bytes >= 800_000);
    t.match((await ok(t, "summary", "objects")).out, /^put +\d+ +78\d\.\d KiB$/m);
  });

  await t.test("asking leaves no trace in what is asked", async (t) => {
    t.equal((await json<Row[]>(t, "list", "jobs")).length, 1);
    const workers = await json<Row[]>(t, "list", "workers");
    t.equal(workers.filter((row) => row.worker_type === "DRIVER").length, 1);
  });

  await t.test("it works in a pipe, also one whose reader goes away", async (t) => {
    const command = `${process.execPath} ${join(root, "dist", "cli", "main.js")}`;
    const piped = spawnSync(
      "sh",
      [
        "-c",
        `${command} list tasks --limit 1000 | head -2; ${command} list tasks --json --limit 1000 | python3 -m json.tool | head -3`,
      ],
      { encoding: "utf8" },
    );
    t.equal(piped.stderr, "");
    t.match(piped.stdout, /^TASK_ID/);
    t.match(piped.stdout, /\[\n {4}\{/);
  });

  await t.test("Python's command is the same", async (t) => {
    const python = await run(join(root, ".venv", "bin", "polyray"), ["list", "actors", "--json"]);
    t.equal(python.code, 0, python.err);
    t.match(JSON.parse(python.out), [{ class_name: "Member" }]);
  });

  cancel(sleeper, { force: true });
  await shutdown();
});
