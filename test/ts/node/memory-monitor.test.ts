// SPDX-License-Identifier: Apache-2.0
// Goal: who is ended when memory runs out, one at a time, and only while something runs; what a node's memory is.
// Method: the policy and the monitor with a host made of lists; the kernel's files as small copies in a scratch folder.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t from "tap";
import {
  chooseVictim,
  type MemoryCandidate,
  MemoryMonitor,
  type MemoryUse,
  memorySettings,
} from "../../../ts/node/memory-monitor.ts";
import { memoryReason, memoryUse } from "../../../ts/node/memory-use.ts";

const one = (
  peer: number,
  owner: string,
  retriable: boolean,
  startedAt: number,
): MemoryCandidate => ({
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

/** One timer, moved on by hand. */
class Clock {
  #timer: { readonly ms: number; readonly run: () => void; left: number } | null = null;

  every(ms: number, run: () => void): () => void {
    this.#timer = { ms, run, left: ms };
    return () => {
      this.#timer = null;
    };
  }

  advance(ms: number): void {
    for (let left = ms; left > 0 && this.#timer !== null; left--) {
      if (--this.#timer.left > 0) continue;
      this.#timer.left = this.#timer.ms;
      this.#timer.run();
    }
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

t.test("one is ended at a time, and the next when it is gone", async (t) => {
  const clock = new Clock();
  const running = [one(1, "a", true, 1), one(2, "a", true, 2)];
  const ended: number[] = [];
  let use: MemoryUse | null = { usedBytes: 80, totalBytes: 100 };
  let asked = 0;
  let looks = 0;
  const monitor = new MemoryMonitor(
    { refreshMs: 100, threshold: 0.8, root: "/" },
    {
      watchLeases: () => ++asked,
      every: (ms, run) => clock.every(ms, run),
      memoryUse: () => {
        looks += 1;
        return use;
      },
      candidates: () => running,
      reason: (victim) => `no memory for ${victim.candidate.peer}`,
      end: (victim) => ended.push(Number(victim.candidate.peer)),
    },
  );
  t.equal(asked, 1);
  clock.advance(10_000);
  t.equal(looks, 0, "it does not look while nothing runs");
  monitor.leasesActive();
  clock.advance(300);
  t.same(ended, [], "what is in use is not above the threshold");
  use = { usedBytes: 81, totalBytes: 100 };
  clock.advance(300);
  t.same(ended, [2]);
  t.equal(monitor.workerGone(1n), null, "somebody else's end is not its own");
  clock.advance(200);
  t.same(ended, [2]);
  t.equal(monitor.workerGone(2n), "no memory for 2");
  running.pop();
  clock.advance(100);
  t.same(ended, [2, 1]);
  t.equal(monitor.workerGone(1n), "no memory for 1");
  running.pop();
  clock.advance(10_000);
  t.equal(asked, 2, "after a second it asks anew");
  const before = looks;
  clock.advance(10_000);
  t.equal(looks, before);
  use = null;
  monitor.leasesActive();
  clock.advance(100);
  t.equal(looks, before + 1, "and looks on when something runs");
  t.same(ended, [2, 1], "what cannot be read ends nobody");
  monitor.stop();
  clock.advance(10_000);
  t.equal(looks, before + 1);
});

t.test("a refresh of 0 never asks", async (t) => {
  let asked = 0;
  const never = (): never => {
    throw new Error("looked");
  };
  const host = { every: never, memoryUse: never, candidates: never, reason: never, end: never };
  const settings = memorySettings({ RAY_memory_monitor_refresh_ms: "0" });
  const monitor = new MemoryMonitor(settings, { ...host, watchLeases: () => ++asked });
  monitor.leasesActive();
  t.equal(asked, 0);
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
  file("sys/fs/cgroup/memory.max", "9223372036854771712\n");
  t.same(memoryUse(root), machine, "a limit above the machine is none");
});

t.test("the reason names node, use, threshold, processes and what to do", async (t) => {
  const gib = 1024 ** 3;
  const victim = { candidate: one(1, "a", true, 1), again: false };
  const use = { usedBytes: 15 * gib, totalBytes: 16 * gib };
  const reason = memoryReason(victim, use, 0.9, "node7");
  t.match(reason, /^\[out of memory\] the task "t1" \(pid 1001\) was ended because node node7 /);
  t.match(reason, "15.00 GiB of 16.00 GiB (93.8 %) are in use, the threshold is 90 %");
  t.match(reason, /largest processes.*: \d+ .* GiB/);
  t.match(reason, "last of its owner");
  t.match(reason, "POLYRAY_MEMORY_MONITOR_REFRESH_MS=0");
  t.notMatch(memoryReason({ ...victim, again: true }, use, 0.9, "n"), "last of its owner");
});
