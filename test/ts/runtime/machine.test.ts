// SPDX-License-Identifier: Apache-2.0
// Goal: a node counts with what its control groups allow, and with the defaults that the documentation names.
// Method: folders that look like those of Linux; machines that are given.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { nodeConfig } from "../../../ts/runtime/config.ts";
import { cgroupLimits, machineSize } from "../../../ts/runtime/machine.ts";

const none = Number.POSITIVE_INFINITY;
const gib = 2 ** 30;

/** The limits of a process whose groups are `membership`, with these files below the root. */
function limitsOf(t: Test, membership: string, files: Record<string, string>) {
  const root = t.testdir({ membership });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), `${content}\n`);
  }
  return cgroupLimits(root, join(root, "membership"));
}

t.test("version 2: a container's own group is the root", (t) => {
  const files = { "cpu.max": "150000 100000", "memory.max": String(3 * gib) };
  t.same(limitsOf(t, "0::/", files), { cpus: 1.5, memoryBytes: 3 * gib });
  t.same(
    limitsOf(t, "0::/docker/9a9b", files),
    { cpus: 1.5, memoryBytes: 3 * gib },
    "the host's path is not there",
  );
  t.end();
});

t.test("version 2: the narrowest of the group and those above it", (t) => {
  const files = {
    "user.slice/cpu.max": "max 100000",
    "user.slice/memory.max": String(2 * gib),
    "user.slice/app.service/cpu.max": "50000 100000",
    "user.slice/app.service/memory.max": "max",
    "other.slice/memory.max": "1000",
  };
  t.same(limitsOf(t, "0::/user.slice/app.service", files), { cpus: 0.5, memoryBytes: 2 * gib });
  t.end();
});

t.test("version 1: a hierarchy for each controller", (t) => {
  const files = {
    "cpu,cpuacct/jobs/cpu.cfs_quota_us": "300000",
    "cpu,cpuacct/jobs/cpu.cfs_period_us": "100000",
    "memory/memory.limit_in_bytes": "9223372036854771712",
    "memory/jobs/memory.limit_in_bytes": String(gib),
  };
  t.same(limitsOf(t, "4:memory:/jobs\n2:cpu,cpuacct:/jobs\n1:name=systemd:/", files), {
    cpus: 3,
    memoryBytes: gib,
  });
  const free = { "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000" };
  t.same(limitsOf(t, "1:cpu:/", free), { cpus: none, memoryBytes: none });
  t.end();
});

t.test("files that are missing or odd are no limit", (t) => {
  const nothing = { cpus: none, memoryBytes: none };
  t.same(cgroupLimits("/no/such/folder", "/no/such/file"), nothing);
  t.same(limitsOf(t, "nonsense\n0::/../..", { "cpu.max": "0 0", "memory.max": "many" }), nothing);
  t.end();
});

t.test("a machine within its groups has whole CPUs, one at least", (t) => {
  const whole = machineSize({ cpus: none, memoryBytes: none });
  t.ok(whole.cpus >= 1 && whole.memoryBytes > gib / 4);
  t.same(machineSize({ cpus: 0.3, memoryBytes: 1000 }), { cpus: 1, memoryBytes: 1000 });
  t.equal(machineSize({ cpus: whole.cpus + 0.9, memoryBytes: none }).cpus, whole.cpus);
  t.end();
});

t.test("defaults: CPUs, 70 % of memory for tasks, 30 % for the store, 200 GiB at most", (t) => {
  const unit = 10_000;
  const small = nodeConfig({}, { cpus: 3, memoryBytes: 10 * gib });
  t.equal(small.objectStoreBytes, 3 * gib);
  t.equal(small.resources.CPU, 3 * unit);
  t.equal(small.resources.memory, 7 * gib * unit);
  t.equal(small.resources.object_store_memory, 3 * gib * unit);
  t.equal(
    nodeConfig({}, { cpus: 3, memoryBytes: 4096 * gib }).objectStoreBytes,
    200 * gib,
    "a large machine",
  );
  t.throws(
    () => nodeConfig({ objectStoreMemory: 2 * gib }, { cpus: 1, memoryBytes: gib }),
    /objectStoreMemory is .* but this machine has/,
  );
  t.end();
});
