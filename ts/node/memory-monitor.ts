// SPDX-License-Identifier: Apache-2.0
// Protects a node whose memory runs out: looks at what is in use, and ends one worker at a time above the threshold.
//
// chooseVictim() is Ray's policy by owner, pure. The monitor looks only while a lease is in use: it asks the raylet to be
// told of one, looks for about a second, and asks again. The host ends the victim; nothing more is ended until it is gone.

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

/** A worker that runs a task or an actor. */
export interface MemoryCandidate {
  /** endpoint | serial << 32 */
  readonly peer: bigint;
  /** Who submitted the task or created the actor. */
  readonly owner: string;
  /** The task has retries, the actor restarts. */
  readonly retriable: boolean;
  /** Larger: begun later. */
  readonly startedAt: number;
  readonly pid: number;
  /** `the task "f"`, `the actor "A"` */
  readonly what: string;
}

export interface MemoryVictim {
  readonly candidate: MemoryCandidate;
  /** False for the last one of its owner: it would meet the same end again. */
  readonly again: boolean;
}

export interface MemoryHost {
  /** Asks for one call of leasesActive() as soon as a lease is in use. */
  watchLeases(): void;
  /** Runs it again and again, until the returned function is called. */
  every(ms: number, run: () => void): () => void;
  memoryUse(): MemoryUse | null;
  candidates(): readonly MemoryCandidate[];
  /** Why the victim is ended, for its callers. */
  reason(victim: MemoryVictim, use: MemoryUse): string;
  end(victim: MemoryVictim, reason: string): void;
}

const watchMs = 1000;

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
      `[invalid option] ${own[key] === undefined ? name : key} is ${JSON.stringify(given)}: it must be ${key === "memory_usage_threshold" ? "a number from 0 to 1" : "a whole number of milliseconds, 0 for never"}.`,
    );
  };
  return {
    refreshMs: read("memory_monitor_refresh_ms", 250, (n) => Number.isSafeInteger(n) && n >= 0),
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
  return { candidate, again: first.retriable && first.members.length > 1 };
}

export class MemoryMonitor {
  readonly #settings: MemorySettings;
  readonly #host: MemoryHost;
  #stopLooking: (() => void) | null = null;
  #looksLeft = 0;
  #victim: { readonly peer: bigint; readonly reason: string } | null = null;

  constructor(settings: MemorySettings, host: MemoryHost) {
    this.#settings = settings;
    this.#host = host;
    if (settings.refreshMs > 0) host.watchLeases();
  }

  /** The answer to watchLeases(). */
  leasesActive(): void {
    const { refreshMs } = this.#settings;
    if (refreshMs === 0 || this.#stopLooking !== null) return;
    this.#looksLeft = Math.max(1, Math.ceil(watchMs / refreshMs));
    this.#stopLooking = this.#host.every(refreshMs, () => this.#look());
  }

  /** A worker is gone. Returns why, if it was ended here. */
  workerGone(peer: bigint): string | null {
    if (this.#victim?.peer !== peer) return null;
    const { reason } = this.#victim;
    this.#victim = null;
    return reason;
  }

  stop(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  #look(): void {
    if (--this.#looksLeft <= 0) {
      this.stop();
      this.#host.watchLeases();
    }
    if (this.#victim !== null) return; // its memory is not back yet
    const use = this.#host.memoryUse();
    if (use === null || use.usedBytes <= use.totalBytes * this.#settings.threshold) return;
    const victim = chooseVictim(this.#host.candidates());
    if (victim === null) return;
    const reason = this.#host.reason(victim, use);
    this.#victim = { peer: victim.candidate.peer, reason };
    this.#host.end(victim, reason);
  }
}
