// SPDX-License-Identifier: Apache-2.0
// Protects a node whose memory runs out: looks at what is in use, and ends one worker at a time above the threshold.
//
// chooseVictim() is Ray's policy by owner, pure. The monitor looks only while a lease is in use: it asks the raylet to be
// told of one, looks for about a second, and asks again. The host ends the victim; nothing more is ended until it is gone, or
// was not heard of for a while. Nobody is ended twice: what runs on may be the record of a caller that has not noticed yet.

import { InvalidOptionError } from "../base/errors.ts";

export interface MemorySettings {
  /** How often it looks; 0: never. */
  readonly refreshMs: number;
  /** The part of the memory above which a worker is ended, 0 to 1. */
  readonly threshold: number;
  /** The folder under which `proc` and `sys` are read: "/" but for a container that sees the machine's elsewhere. */
  readonly root: string;
}

export interface MemoryUse {
  readonly usedBytes: number;
  readonly totalBytes: number;
}

export interface ProcessMemory {
  readonly pid: number;
  readonly name: string;
  readonly bytes: number;
}

/** A worker that runs a task or an actor. */
export interface MemoryCandidate {
  readonly kind: "task" | "actor";
  /** Of the task or the actor. */
  readonly id: string;
  /** endpoint | serial << 32, never used twice */
  readonly peer: bigint;
  /** Who submitted the task or created the actor. */
  readonly owner: string;
  /** The task has retries, the actor restarts left. */
  readonly retriable: boolean;
  /** Larger: begun later. */
  readonly startedAt: number;
  readonly pid: number;
  /** `the task "f"`, `the actor "A"` */
  readonly what: string;
}

export interface MemoryVictim {
  readonly candidate: MemoryCandidate;
  /** False for the last task of its owner: it would meet the same end again. */
  readonly again: boolean;
}

export interface MemoryHost {
  /** Asks for one call of leasesActive() as soon as a lease is in use. */
  watchLeases(): void;
  nowMs(): number;
  /** Runs it once, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void;
  memoryUse(): MemoryUse | null;
  largestProcesses(): readonly ProcessMemory[];
  candidates(): readonly MemoryCandidate[];
  /** Whether it runs still, in this worker. */
  runs(candidate: MemoryCandidate): boolean;
  /** Why the victim is ended, for its callers. */
  reason(victim: MemoryVictim, use: MemoryUse, processes: readonly ProcessMemory[]): string;
  end(victim: MemoryVictim, reason: string): void;
}

const watchMs = 1000;
const maxTimerMs = 2 ** 31 - 1;
// Without news of a victim for so long, another one may be ended.
const victimMs = 5000;
// Below this part of the threshold it looks once in calmMs.
const calmPart = 0.7;
const calmMs = 1000;

/** Reads the settings of the environment; `own` (Ray's system config) goes first. Throws InvalidOptionError. */
export function memorySettings(
  env: Readonly<Record<string, string | undefined>>,
  own: Readonly<Record<string, unknown>> = {},
): MemorySettings {
  const read = (key: string, initial: number, fits: (value: number) => boolean): number => {
    const names = [`POLYRAY_${key.toUpperCase()}`, `RAY_${key}`];
    const name = names.find((one) => (env[one] ?? "") !== "") ?? key;
    const given = own[key] ?? env[name] ?? initial;
    const value = typeof given === "boolean" || given === null ? Number.NaN : Number(given);
    if (fits(value)) return value;
    throw new InvalidOptionError(
      `[invalid option] ${own[key] === undefined ? name : key} is ${JSON.stringify(given)}: it must be ${key === "memory_usage_threshold" ? "a number from 0 to 1" : `a whole number of milliseconds up to ${maxTimerMs}, 0 for never`}.`,
    );
  };
  return {
    refreshMs: read(
      "memory_monitor_refresh_ms",
      250,
      (n) => Number.isInteger(n) && n >= 0 && n <= maxTimerMs,
    ),
    threshold: read("memory_usage_threshold", 0.95, (n) => n >= 0 && n <= 1),
    root: env.POLYRAY_MEMORY_ROOT || "/",
  };
}

interface Group {
  readonly retriable: boolean;
  readonly members: MemoryCandidate[];
  oldest: number;
}

/**
 * Groups by owner, all that cannot run again in one group. Retriable groups first, of these the largest, of equal ones the
 * one that began last; in it the newest. Null when there is nobody.
 */
export function chooseVictim(candidates: readonly MemoryCandidate[]): MemoryVictim | null {
  const groups = new Map<string, Group>();
  for (const one of candidates) {
    const key = one.retriable ? `owner ${one.owner}` : "";
    const group = groups.get(key);
    if (group === undefined)
      groups.set(key, { retriable: one.retriable, members: [one], oldest: one.startedAt });
    else {
      group.members.push(one);
      group.oldest = Math.min(group.oldest, one.startedAt);
    }
  }
  const [first] = [...groups.values()].sort(
    (a, b) =>
      Number(b.retriable) - Number(a.retriable) ||
      b.members.length - a.members.length ||
      b.oldest - a.oldest,
  );
  if (first === undefined) return null;
  const candidate = first.members.reduce((a, b) => (b.startedAt > a.startedAt ? b : a));
  // An actor holds its memory as long as it lives: a task beside actors alone would be ended again and again.
  const others = first.members.some((one) => one !== candidate && one.kind === "task");
  return { candidate, again: first.retriable && (candidate.kind === "actor" || others) };
}

export class MemoryMonitor {
  readonly #settings: MemorySettings;
  readonly #host: MemoryHost;
  /** Every worker that was ended here, with the reason until it is told. */
  readonly #ended = new Map<bigint, string | null>();
  #victim: { readonly peer: bigint; readonly untilMs: number } | null = null;
  #cancelLook: (() => void) | null = null;
  #watchUntilMs = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #calm = false;
  #stopped = false;

  constructor(settings: MemorySettings, host: MemoryHost) {
    this.#settings = settings;
    this.#host = host;
    if (settings.refreshMs > 0) host.watchLeases();
  }

  /** The answer to watchLeases(). */
  leasesActive(): void {
    if (this.#settings.refreshMs === 0 || this.#stopped || this.#cancelLook !== null) return;
    this.#watchUntilMs = this.#host.nowMs() + watchMs;
    this.#lookLater();
  }

  /** A worker is gone. Returns why, if it was ended here. */
  workerGone(peer: bigint): string | null {
    if (this.#victim?.peer === peer) this.#victim = null;
    const reason = this.#ended.get(peer) ?? null;
    if (reason !== null) this.#ended.set(peer, null);
    return reason;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelLook?.();
    this.#cancelLook = null;
  }

  #lookLater(): void {
    const { refreshMs } = this.#settings;
    const calm = this.#calm ? this.#lookedMs + calmMs - this.#host.nowMs() : 0;
    this.#cancelLook = this.#host.after(Math.max(refreshMs, calm), () => this.#tick());
  }

  #tick(): void {
    this.#cancelLook = null;
    if (this.#stopped) return;
    this.#lookedMs = this.#host.nowMs();
    try {
      this.#look();
    } catch {
      // What failed now may do at the next look.
    }
    if (this.#lookedMs < this.#watchUntilMs) this.#lookLater();
    else this.#host.watchLeases();
  }

  #look(): void {
    if (this.#victim !== null && this.#lookedMs < this.#victim.untilMs) return; // its memory is not back yet
    this.#victim = null;
    const use = this.#host.memoryUse();
    const limit = (use?.totalBytes ?? 0) * this.#settings.threshold;
    this.#calm = use === null || use.usedBytes < limit * calmPart;
    if (use === null || use.usedBytes <= limit) return;
    // Reading these takes a while, in which a task may end and its worker begin another one: so first.
    const processes = this.#host.largestProcesses();
    const victim = chooseVictim(
      this.#host.candidates().filter((one) => !this.#ended.has(one.peer)),
    );
    if (victim === null) return;
    const { candidate } = victim;
    const reason = this.#host.reason(victim, use, processes);
    if (!this.#host.runs(candidate)) return;
    this.#host.end(victim, reason);
    this.#ended.set(candidate.peer, reason);
    this.#victim = { peer: candidate.peer, untilMs: this.#lookedMs + victimMs };
  }
}
