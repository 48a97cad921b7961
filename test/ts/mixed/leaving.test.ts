// SPDX-License-Identifier: Apache-2.0
// Goal: what a driver started ends with it, however it ends, except detached actors, which others find by name; a head has
// the resources and labels that its command named; a wrong token is refused.
// Method: a started head; drivers of both languages in processes of their own, and this one as the driver that comes after.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ActorHandle,
  clusterResources,
  get,
  getActor,
  getNodeInstanceId,
  getNodeIpAddress,
  init,
  kill,
  listNamedActors,
  nodes,
  remote,
  shutdown,
} from "polyray";
import t from "tap";
import {
  fixtures,
  isAlive,
  polyray,
  rejection,
  runPython,
  runTypeScript,
  scratchFolder,
  startHead,
  until,
  within,
} from "./support.ts";

process.env.POLYRAY_TMPDIR = scratchFolder();
t.teardown(() => shutdown());

type Counter = ActorHandle<{ add(n: number): number }>;

const labels = join(scratchFolder(), "labels.yaml");
writeFileSync(labels, "# of this rack\n---\nzone: a\n\"ray.io/region\": 'eu west' # quoted\n");
const head = await startHead(
  ...["--num-cpus", "2", "--resources", '{"bob": 5}'],
  ...["--labels-file", labels, "--labels", "zone=b, rack=7"],
);
t.teardown(() => polyray(["stop", "--force", "--address", head.address]));

t.test("a driver with a wrong token is refused, in both languages", async (t) => {
  const file = join(head.sessionDir, "token");
  const right = readFileSync(file, "utf8");
  writeFileSync(file, "wrong");
  try {
    const refused = await rejection(init({ address: head.address }));
    t.equal(refused.name, "AuthenticationError", refused.message);
    t.equal(refused.code, "AUTHENTICATION");
    const source = `import polyray as ray\ntry:\n    ray.init(${JSON.stringify(head.address)})\nexcept ray.exceptions.AuthenticationError as error:\n    print("refused:", error)`;
    const python = await runPython(["-c", source]);
    t.match(python.out, /^refused: .*token is missing or wrong/, python.err);
  } finally {
    writeFileSync(file, right);
  }
});

const drivers = {
  ts: (args: string[]) => runTypeScript("leaving-driver.ts", args),
  py: (args: string[]) => runPython([join(fixtures, "leaving_driver.py"), ...args]),
};

for (const [language, run] of Object.entries(drivers))
  for (const how of ["left", "killed"])
    t.test(`${language}: a driver that ${how}`, async (t) => {
      const folder = join(scratchFolder(), "told");
      mkdirSync(folder);
      const ended = await run([head.address, folder, how]);
      if (how === "killed") t.equal(ended.signal, "SIGKILL", ended.err);
      else t.equal(ended.out, "2 calls left\n", ended.err);
      await init({ address: head.address, namespace: "shop", logToDriver: false });
      t.equal(await within(get(remote(() => 1, { numCpus: 2 }).remote()), "the CPUs"), 1);
      const pid = Number(readFileSync(join(folder, "running"), "utf8"));
      await until(() => !isAlive(pid), "the running task's process ends");
      t.notOk(existsSync(join(folder, "waiting")), "the waiting task never ran");

      const name = `kept-${language}-${how}`;
      await until(
        async () => (await listNamedActors()).every((one) => one.name !== `own-${language}-${how}`),
        "the ordinary actor ends",
      );
      t.same(await listNamedActors(), [{ name, namespace: "shop" }]);
      await shutdown();
      await init({ address: head.address, namespace: "street", logToDriver: false });
      t.same(await listNamedActors(), [], "of this namespace");
      t.same(await listNamedActors({ allNamespaces: true }), [{ name, namespace: "shop" }]);
      t.equal((await rejection(getActor(name))).name, "ActorHandleNotFoundError");
      const kept = (await getActor(name, { namespace: "shop" })) as Counter;
      t.equal(await within(get(kept.add.remote(1)), "the detached actor"), 12);
      await kill(kept);
      await until(
        async () => (await listNamedActors({ allNamespaces: true })).length === 0,
        "the killed actor's name is free",
      );
      await shutdown();
    });

t.test("the head has the resources and labels of its command", async (t) => {
  await init({ address: head.address, logToDriver: false });
  t.match(await clusterResources(), { CPU: 2, bob: 5 });
  t.equal(await get(remote(() => 1, { resources: { bob: 5 } }).remote()), 1);
  const [node] = await nodes();
  t.same(node?.labels, { zone: "b", rack: "7", "ray.io/region": "eu west" });
  t.equal(await getNodeIpAddress(), node?.address);
  t.equal(getNodeInstanceId(), process.env.RAY_CLOUD_INSTANCE_ID ?? "");
  await shutdown();
  const python = await runPython([
    "-c",
    `import polyray as ray\nray.init(${JSON.stringify(head.address)})\nprint(ray.cluster_resources()["bob"], ray.get(ray.remote(lambda: 1).options(resources={"bob": 0.5}).remote()))`,
  ]);
  t.equal(python.out.trim(), "5.0 1", python.err);
});

t.test("labels that are none are refused", async (t) => {
  const odd = join(scratchFolder(), "odd.yaml");
  for (const [text, pattern] of [
    ["zone: a\nracks:\n  - 7\n", /line 2 is not "key: value"/],
    ['{"zone": 7}', /a value is no text/],
    ["{", /--labels-file .*odd\.yaml: .*JSON/],
  ] as const) {
    writeFileSync(odd, text);
    const { code, err } = await polyray(["start", "--head", "--port", "0", "--labels-file", odd]);
    t.not(code, 0);
    t.match(err, pattern);
  }
  const { code, err } = await polyray(["start", "--head", "--port", "0", "--labels", "zone"]);
  t.not(code, 0);
  t.match(err, /"zone" is not key=value/);
});
