// SPDX-License-Identifier: Apache-2.0
// Waiting for the cluster to be big enough, and small aids of programs: messages said once, progress, one run per node.

import { InvalidOptionError, makeError } from "../base/errors.ts";
import type { ObjectRef } from "../object/ref.ts";
import { availableResources, type NodeInfo, nodes } from "./cluster.ts";
import { get } from "./objects.ts";
import { remote } from "./remote.ts";
import { checkWaitOptions } from "./wait-options.ts";

/** How long to wait. */
interface WaitFor {
  /** Milliseconds; 0 looks once. Default: no limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const lookEveryMs = 100;

async function poll<T>(
  look: () => Promise<T | null>,
  options: WaitFor,
  late: () => string,
  where: string,
): Promise<T> {
  const { timeoutMs = Number.POSITIVE_INFINITY, signal } = checkWaitOptions(options, where);
  const end = Date.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await look();
    if (found !== null) return found;
    const leftMs = end - Date.now();
    if (leftMs <= 0) throw makeError("GET_TIMEOUT", `${late()} within ${timeoutMs} ms`);
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(lookEveryMs, leftMs));
      signal?.addEventListener("abort", done, { once: true });
    });
  }
}

/** Resolves when the cluster has so many living nodes. Rejects with GetTimeoutError. */
export function waitForNodes(count: number, options: WaitFor = {}): Promise<NodeInfo[]> {
  if (!Number.isInteger(count) || count < 0)
    return Promise.reject(
      new InvalidOptionError(
        `[invalid option] waitForNodes takes a whole number >= 0, not ${String(count)}.`,
      ),
    );
  let seen = 0;
  const look = async (): Promise<NodeInfo[] | null> => {
    const alive = (await nodes()).filter((node) => node.alive);
    seen = alive.length;
    return seen >= count ? alive : null;
  };
  return poll(look, options, () => `${seen} of ${count} nodes came`, "waitForNodes");
}

/** Resolves when so much of each resource is free: `waitForResources({ CPU: 8 })`. Rejects with GetTimeoutError. */
export function waitForResources(
  amounts: Readonly<Record<string, number>>,
  options: WaitFor = {},
): Promise<Record<string, number>> {
  for (const [name, amount] of Object.entries(amounts))
    if (typeof amount !== "number" || !(amount >= 0))
      return Promise.reject(
        new InvalidOptionError(
          `[invalid option] waitForResources: ${name} must be a number >= 0, not ${String(amount)}.`,
        ),
      );
  let free: Record<string, number> = {};
  const look = async (): Promise<Record<string, number> | null> => {
    free = await availableResources();
    return Object.entries(amounts).every(([name, amount]) => (free[name] ?? 0) >= amount)
      ? free
      : null;
  };
  const late = (): string =>
    `only ${Object.keys(amounts)
      .map((name) => `${name} ${free[name] ?? 0}`)
      .join(", ")} became free`;
  return poll(look, options, late, "waitForResources");
}

const said = new Set<string>();

/** True the first time that this process asks for a key: `if (logOnce("slow path")) console.warn(...)`. */
export function logOnce(key: string): boolean {
  if (said.has(key)) return false;
  said.add(key);
  return true;
}

/** Options of `progress`. */
export interface ProgressOptions {
  /** Shown before the numbers. */
  readonly desc?: string;
  /** How many items there are. Default: the length of an array, else unknown. */
  readonly total?: number;
  /** Where it is written. Default: stderr, and only when that is a terminal. */
  readonly write?: (line: string) => void;
  /** At most one line in so many milliseconds. Default 100. */
  readonly everyMs?: number;
}

/** The items of a loop, with a line about how far it is: `for await (const r of progress(asCompleted(refs), { total: 100 }))`. */
export async function* progress<T>(
  items: Iterable<T> | AsyncIterable<T>,
  options: ProgressOptions = {},
): AsyncGenerator<T, void, undefined> {
  const { desc = "", everyMs = 100 } = options;
  const total = options.total ?? (Array.isArray(items) ? items.length : null);
  const { stderr } = process;
  const write =
    options.write ??
    (stderr.isTTY ? (line: string) => void stderr.write(`\r\x1b[K${line}`) : () => undefined);
  const start = performance.now();
  let done = 0;
  let shownAt = Number.NEGATIVE_INFINITY;
  const show = (): void => {
    const seconds = (performance.now() - start) / 1000;
    const rate = seconds > 0 ? (done / seconds).toFixed(1) : "0.0";
    const part = total === null || total === 0 ? "" : ` ${Math.floor((100 * done) / total)}%`;
    const of = total === null ? "" : `/${total}`;
    write(
      `${desc === "" ? "" : `${desc}: `}${done}${of}${part} [${seconds.toFixed(1)} s, ${rate}/s]`,
    );
    shownAt = performance.now();
  };
  try {
    for await (const item of items) {
      yield item;
      done++;
      if (performance.now() - shownAt >= everyMs) show();
    }
  } finally {
    show();
    if (options.write === undefined && stderr.isTTY) stderr.write("\n");
  }
}

/** Runs a function once on each living node; results by node id. */
export async function runOnNodes<A extends unknown[], R>(
  fn: (...args: A) => R,
  ...args: A
): Promise<Record<string, Awaited<R>>> {
  const run = remote(fn as (...args: unknown[]) => unknown, { numCpus: 0 });
  const alive = (await nodes()).filter((node) => node.alive);
  // One node is all that this version has: a task without resources runs there.
  const refs = alive.map(() => run.remote(...args) as ObjectRef<unknown>);
  const results = (await get(refs)) as Awaited<R>[];
  return Object.fromEntries(alive.map((node, index) => [node.nodeId, results[index]])) as Record<
    string,
    Awaited<R>
  >;
}
