// SPDX-License-Identifier: Apache-2.0
// Goal: who is ended when memory runs out, one at a time, and only while something runs; what a node's memory is.
// Method: the policy and the monitor with a host made of lists and a clock moved by hand; the kernel's files as small copies
// in a scratch folder.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t from "tap";
import {
  chooseVictim,
  type MemoryCandidate,
  type MemoryHost,
  MemoryMonitor,
  type MemorySettings,
  type MemoryUse,
  memorySettings,
} from "../../../ts/node/memory-monitor.ts";
import { largestProcesses, memoryReason, memoryUse } from "../../../ts/node/memory-use.ts";

const one = (
  peer: number,
  owner: string,
  retriable: boolean,
  startedAt: number,
  kind: "task" | "actor" = "task",
): MemoryCandidate => ({
  kind,
  id: `t${peer}`,
  peer: BigInt(peer),
  owner,
  retriable,
  startedAt,
  pid: 1000 + peer,
  what: `the task "t${peer}"`,
});
const chosen = (...candidates: MemoryCandidate[]): [number, boolean] | null => {
  const victim = chooseVictim(candidates);
  return victim && [Number(victim.candidate.peer), victim.again];
};

/** A monitor of 100 bytes with a timer that is moved on by hand. */
class Node implements MemoryHost {
  use: MemoryUse | null = { usedBytes: 80, totalBytes: 100 };
  running: MemoryCandidate[] = [];
  readonly ended: [peer: number, again: boolean][] = [];
  readonly lookedAt: number[] = [];
  asked = 0;
  /** Called between the choice and the end. */
  meanwhile = (): void => undefined;
  #now = 0;
  #timer: { readonly at: number; readonly run: () => void } | null = null;

  monitor(settings: Partial<MemorySettings> = {}): MemoryMonitor {
    return new MemoryMonitor({ refreshMs: 100, threshold: 0.8, root: "/", ...settings }, this);
  }
  set used(usedBytes: number) {
    this.use = { usedBytes, totalBytes: 100 };
  }
  advance(ms: number): void {
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now += 1;
      const timer = this.#timer;
      if (timer === null || timer.at > this.#now) continue;
      this.#timer = null;
      timer.run();
    }
  }

  watchLeases(): void {
    this.asked += 1;
  }
  nowMs(): number {
    return this.#now;
  }
  after(ms: number, run: () => void): () => void {
    this.#timer = { at: this.#now + ms, run };
    return () => {
      this.#timer = null;
    };
  }
  memoryUse(): MemoryUse | null {
    this.lookedAt.push(this.#now);
    return this.use;
  }
  largestProcesses(): [] {
    return [];
  }
  candidates(): MemoryCandidate[] {
    return [...this.running];
  }
  runs({ id, peer }: MemoryCandidate): boolean {
    return this.running.some((one) => one.id === id && one.peer === peer);
  }
  reason({ candidate }: { readonly candidate: MemoryCandidate }): string {
    this.meanwhile();
    return `no memory for ${candidate.peer}`;
  }
  end({
    candidate,
    again,
  }: {
    readonly candidate: MemoryCandidate;
    readonly again: boolean;
  }): void {
    this.ended.push([Number(candidate.peer), again]);
  }
}

t.test("nobody is chosen of nobody", async (t) => t.equal(chosen(), null));

t.test("the newest of the largest group that may run again is chosen", async (t) => {
  const small = [one(1, "a", true, 90), one(2, "a", true, 99)];
  const large = [one(3, "b", true, 10), one(4, "b", true, 30), one(5, "b", true, 20)];
  t.same(chosen(...small, ...large), [4, true]);
  t.same(chosen(...large, ...small), [4, true]);
});

t.test("of groups of one size that with the later beginning is chosen", async (t) => {
  const older = [one(1, "a", true, 1), one(2, "a", true, 50)];
  const newer = [one(3, "b", true, 2), one(4, "b", true, 3)];
  t.same(chosen(...older, ...newer), [4, true]);
});

t.test("what cannot run again is chosen last, all owners together", async (t) => {
  const final = [one(1, "a", false, 7), one(2, "b", false, 9), one(3, "c", false, 8)];
  t.same(chosen(...final, one(4, "d", true, 1)), [4, false]);
  t.same(chosen(...final), [2, false]);
});

t.test("the last of its owner is not to run again", async (t) => {
  t.same(chosen(one(1, "a", true, 1)), [1, false]);
  t.same(chosen(one(1, "a", true, 1), one(2, "a", true, 2)), [2, true]);
});

t.test("a task beside actors alone is the last, or it would be ended for ever", async (t) => {
  const actors = [one(1, "a", true, 1, "actor"), one(2, "a", true, 2, "actor")];
  t.same(chosen(...actors, one(3, "a", true, 3)), [3, false]);
  t.same(chosen(...actors, one(3, "a", true, 3), one(4, "a", true, 4)), [4, true]);
  t.same(chosen(...actors), [2, true], "an actor restarts");
  t.same(chosen(one(1, "a", true, 1), one(2, "a", true, 2, "actor")), [2, true]);
});

t.test("one is ended at a time, and the next when it is gone", async (t) => {
  const node = new Node();
  node.running = [one(1, "a", true, 1), one(2, "a", true, 2)];
  const monitor = node.monitor();
  t.equal(node.asked, 1);
  node.advance(10_000);
  t.same(node.lookedAt, [], "it does not look while nothing runs");
  monitor.leasesActive();
  node.advance(300);
  t.same(node.ended, [], "what is in use is not above the threshold");
  node.used = 81;
  node.advance(300);
  t.same(node.ended, [[2, true]]);
  t.equal(monitor.workerGone(1n), null, "somebody else's end is not its own");
  node.advance(200);
  t.same(node.ended, [[2, true]]);
  t.equal(monitor.workerGone(2n), "no memory for 2");
  t.equal(monitor.workerGone(2n), null, "the reason is told once");
  node.running.pop();
  node.advance(100);
  t.same(node.ended.slice(1), [[1, false]]);
  t.equal(monitor.workerGone(1n), "no memory for 1");
  node.running.pop();
  node.advance(10_000);
  t.equal(node.asked, 2, "after a second it asks anew");
  const before = node.lookedAt.length;
  node.advance(10_000);
  t.equal(node.lookedAt.length, before);
  node.use = null;
  monitor.leasesActive();
  node.advance(100);
  t.equal(node.lookedAt.length, before + 1, "and looks on when something runs");
  t.equal(node.ended.length, 2, "what cannot be read ends nobody");
  monitor.stop();
  monitor.leasesActive();
  node.advance(10_000);
  t.equal(node.lookedAt.length, before + 1, "a stopped one does not look");
  t.equal(node.asked, 2);
});

t.test("a victim without news is given up, and nobody is ended twice", async (t) => {
  const node = new Node();
  // The caller of task 3 is busy: its call seems to run on in the worker that is gone.
  node.running = [1, 2, 3].map((peer) => one(peer, "a", true, peer));
  node.used = 90;
  const monitor = node.monitor();
  const run = (ms: number): void => {
    for (let left = ms; left > 0; left -= 100) {
      monitor.leasesActive();
      node.advance(100);
    }
  };
  run(4900);
  t.same(node.ended, [[3, true]]);
  run(300);
  t.same(node.ended.slice(1), [[2, true]], "the next after a while");
  t.equal(monitor.workerGone(3n), "no memory for 3", "late news has its reason");
  run(1000);
  t.equal(node.ended.length, 2, "and is not taken for news of the other victim");
  monitor.workerGone(2n);
  run(10_000);
  t.same(node.ended.slice(2), [[1, false]], "records of ended workers are nobody");
});

t.test("who ended since the choice is not ended, nor the next task of that worker", async (t) => {
  const node = new Node();
  node.used = 90;
  node.running = [one(1, "a", true, 1), one(2, "a", true, 2)];
  node.meanwhile = () => {
    node.running[1] = { ...one(2, "a", true, 3), id: "another" };
    node.meanwhile = () => undefined;
  };
  node.monitor().leasesActive();
  node.advance(100);
  t.same(node.ended, []);
  node.advance(100);
  t.same(node.ended, [[2, true]], "the next look chooses anew");
});

t.test("far below the threshold it looks once a second", async (t) => {
  const node = new Node();
  node.used = 55; // of a threshold of 80: 70 % are 56
  const monitor = node.monitor();
  const run = (): void => {
    for (let left = 0; left < 3000; left++) {
      monitor.leasesActive(); // a lease is in use all the time
      node.advance(1);
    }
  };
  run();
  t.same(node.lookedAt, [100, 1100, 2100]);
  node.used = 57;
  run();
  t.same(node.lookedAt.slice(3, 6), [3100, 3200, 3300]);
});

t.test("a look that fails is skipped", async (t) => {
  const node = new Node();
  node.used = 90;
  node.running = [one(1, "a", true, 1)];
  node.meanwhile = () => {
    node.meanwhile = () => undefined;
    throw new Error("no such file");
  };
  node.monitor().leasesActive();
  node.advance(100);
  t.same(node.ended, []);
  node.advance(100);
  t.same(node.ended, [[1, false]]);
});

t.test("a refresh of 0 never asks", async (t) => {
  const node = new Node();
  const monitor = node.monitor(memorySettings({ RAY_memory_monitor_refresh_ms: "0" }));
  monitor.leasesActive();
  node.advance(10_000);
  t.equal(node.asked, 0);
  t.same(node.lookedAt, []);
});

t.test("settings are read of both names, own ones first; wrong ones are told", async (t) => {
  t.same(memorySettings({}), { refreshMs: 250, threshold: 0.95, root: "/" });
  const ray = { RAY_memory_usage_threshold: "0.5", RAY_memory_monitor_refresh_ms: "7" };
  t.match(memorySettings(ray), { refreshMs: 7, threshold: 0.5 });
  const both = { ...ray, POLYRAY_MEMORY_USAGE_THRESHOLD: "0.6" };
  t.match(memorySettings(both), { refreshMs: 7, threshold: 0.6 });
  t.match(memorySettings(both, { memory_usage_threshold: 0.7 }), { threshold: 0.7 });
  const wrong = { POLYRAY_MEMORY_USAGE_THRESHOLD: "95" };
  t.throws(() => memorySettings(wrong), /POLYRAY_MEMORY_USAGE_THRESHOLD is "95"/);
  t.throws(() => memorySettings({ RAY_memory_monitor_refresh_ms: "-1" }), /RAY_memory_monitor/);
  t.throws(() => memorySettings({}, { memory_monitor_refresh_ms: "soon" }), /"soon"/);
  t.throws(() => memorySettings({}, { memory_monitor_refresh_ms: 2 ** 31 }), /up to 2147483647/);
  t.match(memorySettings({}, { memory_monitor_refresh_ms: 2 ** 31 - 1 }), {
    refreshMs: 2 ** 31 - 1,
  });
});

t.test("the memory of the machine, or of a control group with a lower limit", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "polyray-memory-"));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const file = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  t.equal(memoryUse(root), null);
  file("proc/meminfo", "MemTotal:     1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\n");
  const machine = { totalBytes: 1000 * 1024, usedBytes: 600 * 1024 };
  t.same(memoryUse(root), machine);
  file("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n");
  file("sys/fs/cgroup/memory/memory.usage_in_bytes", "4000\n");
  file("sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 1000\n");
  t.same(memoryUse(root), { totalBytes: 5000, usedBytes: 3000 });
  file("sys/fs/cgroup/memory.max", "max\n");
  file("sys/fs/cgroup/memory.current", "7000\n");
  t.same(memoryUse(root), { totalBytes: 5000, usedBytes: 3000 }, "max is no limit");
  file("sys/fs/cgroup/memory.max", "8000\n");
  file("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 500\nactive_file 1500\n");
  t.same(memoryUse(root), { totalBytes: 8000, usedBytes: 5000 });
  file("sys/fs/cgroup/memory.stat", "inactive_file 500\nactive_file 500\nslab_reclaimable 1000\n");
  t.same(
    memoryUse(root),
    { totalBytes: 8000, usedBytes: 5000 },
    "caches of the kernel do not count",
  );
  file("proc/self/cgroup", "4:memory:/jobs/one\n2:cpu:/other\n0::/slice/app\n");
  const nested = (path: string, limit: string, used: string): void => {
    file(`sys/fs/cgroup/${path}/memory.max`, limit);
    file(`sys/fs/cgroup/${path}/memory.current`, used);
  };
  nested("slice", "4000", "3000");
  nested("slice/app", "max", "2500");
  nested("elsewhere", "100", "100");
  t.same(memoryUse(root), { totalBytes: 4000, usedBytes: 3000 }, "the fullest of the groups above");
  nested("slice/app", "2500", "2400");
  t.same(memoryUse(root), { totalBytes: 2500, usedBytes: 2400 }, "or its own");
  file("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "2000");
  file("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "1990");
  t.same(memoryUse(root), { totalBytes: 2000, usedBytes: 1990 }, "of either version");
  for (const folder of ["", "slice/", "slice/app/"])
    file(`sys/fs/cgroup/${folder}memory.max`, "9223372036854771712\n");
  for (const folder of ["", "jobs/"])
    file(`sys/fs/cgroup/memory/${folder}memory.limit_in_bytes`, "9223372036854771712\n");
  t.same(memoryUse(root), machine, "a limit above the machine is none");
});

t.test("the reason names node, use, threshold, processes and what to do", async (t) => {
  const gib = 1024 ** 3;
  const victim = { candidate: one(1, "a", true, 1), again: false };
  const use = { usedBytes: 15 * gib, totalBytes: 16 * gib };
  const reason = memoryReason(victim, use, largestProcesses(), 0.9, "node7");
  t.match(reason, /^\[out of memory\] the task "t1" \(pid 1001\) was ended because node node7 /);
  t.match(reason, "15.00 GiB of 16.00 GiB (93.8 %) are in use, the threshold is 90 %");
  t.match(reason, /largest processes.*: \d+ .* GiB/);
  t.match(reason, "last task of its owner");
  t.match(reason, "POLYRAY_MEMORY_MONITOR_REFRESH_MS=0");
  t.notMatch(memoryReason({ ...victim, again: true }, use, [], 0.9, "n"), "last task of its owner");
});
