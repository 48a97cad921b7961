// SPDX-License-Identifier: Apache-2.0
// Placement groups: bundles of resources that are reserved together, and strategies that place work into them, onto a node
// or by labels. The control service keeps the table, the raylet reserves all bundles at once.

import { parseBytes, userAmounts } from "../base/amounts.ts";
import { InvalidOptionError, makeError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { connection } from "../core/context.ts";
import { currentPlace } from "../core/placement.ts";
import type { Bytes, LabelRule, Scheduling } from "../core/types.ts";

/** Amounts by resource name: CPU, GPU, memory (bytes or text) and custom names. */
export type Bundle = Readonly<Record<string, number | Bytes>>;

/** How bundles lie over nodes. */
export type PlacementStrategy = "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";

/** Options of placementGroup. */
export interface PlacementGroupOptions {
  /** Default "PACK". "STRICT_SPREAD" with several bundles never fits on one node. */
  readonly strategy?: PlacementStrategy;
  /** To find it by getPlacementGroup. */
  readonly name?: string;
  /** "detached": it outlives its driver. */
  readonly lifetime?: "detached";
}

/** What the table knows of a group. */
export interface PlacementGroupInfo {
  readonly id: string;
  readonly name: string;
  readonly strategy: PlacementStrategy;
  readonly bundles: readonly Readonly<Record<string, number>>[];
  readonly state: "PENDING" | "CREATED" | "REMOVED";
}

interface Row extends PlacementGroupInfo {
  readonly createdAtMs: number;
}

const strategies: readonly string[] = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"];
const waitChunkMs = 20_000;

/** A handle to a placement group. `await using` removes it at the end of the block. */
export class PlacementGroup {
  readonly id: string;
  readonly name: string;
  readonly strategy: PlacementStrategy;
  readonly bundles: readonly Readonly<Record<string, number>>[];

  /** @internal */
  constructor(row: PlacementGroupInfo) {
    this.id = row.id;
    this.name = row.name;
    this.strategy = row.strategy;
    this.bundles = row.bundles;
  }

  /** Strategy of the `scheduling` option: run in this bundle. */
  bundle(index: number, options: { readonly captureChildren?: boolean } = {}): Scheduling {
    if (!Number.isInteger(index) || index < 0 || index >= this.bundles.length)
      throw new InvalidOptionError(
        `[invalid option] the placement group has no bundle ${index}. Valid bundles: 0 to ${this.bundles.length - 1}.`,
      );
    const { captureChildren } = options;
    return {
      placementGroup: this.id,
      bundle: index,
      bundleCount: this.bundles.length,
      ...(captureChildren === undefined ? {} : { captureChildren }),
    };
  }

  /** Strategy of the `scheduling` option: run in any bundle. */
  any(options: { readonly captureChildren?: boolean } = {}): Scheduling {
    const { captureChildren } = options;
    return {
      placementGroup: this.id,
      bundleCount: this.bundles.length,
      ...(captureChildren === undefined ? {} : { captureChildren }),
    };
  }

  /** Resolves once all bundles are reserved. Rejects with GetTimeoutError after timeoutMs, TaskPlacementGroupRemoved. */
  async ready(
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<this> {
    const end = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
    for (;;) {
      options.signal?.throwIfAborted();
      const left = end - performance.now();
      const row = await this.#wait(Math.max(0, Math.min(left, waitChunkMs)), options.signal);
      if (row === null || row.state === "REMOVED")
        throw makeError("TASK_PLACEMENT_GROUP_REMOVED", `placement group ${this.id} was removed`);
      if (row.state === "CREATED") return this;
      if (left <= 0)
        throw makeError(
          "GET_TIMEOUT",
          `placement group ${this.id} was not reserved in time. Wait longer, or free resources.`,
        );
    }
  }

  async #wait(timeoutMs: number, signal: AbortSignal | undefined): Promise<Row | null> {
    const answer = connection().request("group.wait", { group: this.id, timeoutMs });
    if (signal === undefined) return (await answer).group as Row | null;
    let abort = (): void => undefined;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
    });
    try {
      return (await Promise.race([answer, aborted])).group as Row | null;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** What the table knows of it now. */
  async info(): Promise<PlacementGroupInfo> {
    const row = (await connection().request("group.get", { group: this.id })).group as Row | null;
    if (row === null)
      throw makeError("TASK_PLACEMENT_GROUP_REMOVED", `placement group ${this.id} was removed`);
    return infoOf(row);
  }

  /** Gives its resources back; tasks and actors that run in it are ended. */
  async remove(): Promise<void> {
    await connection().request("group.remove", { group: this.id });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

/** Reserves bundles of resources together; returns at once. Throws InvalidOptionError, SystemError for a name that is taken. */
export function placementGroup(
  bundles: readonly Bundle[],
  options: PlacementGroupOptions = {},
): PlacementGroup {
  if (!Array.isArray(bundles) || bundles.length === 0)
    throw new InvalidOptionError(
      "[invalid option] bundles must be a list that is not empty, such as [{ CPU: 1 }, { GPU: 1 }].",
    );
  const { strategy = "PACK", name = "", lifetime } = options;
  if (!strategies.includes(strategy))
    throw new InvalidOptionError(
      `[invalid option] strategy must be one of ${strategies.join(", ")}, not ${String(strategy)}.`,
    );
  if (lifetime !== undefined && lifetime !== "detached")
    throw new InvalidOptionError(`[invalid option] lifetime must be "detached" or left out.`);
  const current = connection();
  const answer = current.requestNow("group.create", {
    bundles: bundles.map(fixedAmounts),
    strategy,
    name,
    lifetime: lifetime ?? "",
    namespace: current.place.namespace,
    job: current.keyBase.job,
  });
  return new PlacementGroup(infoOf(answer.group as Row));
}

function fixedAmounts(bundle: Bundle): Record<string, number> {
  const entries = typeof bundle === "object" && bundle !== null ? Object.entries(bundle) : [];
  const amounts = entries.map(([name, amount]): [string, number] => {
    const value = name === "memory" ? parseBytes(amount) : Number(amount);
    if (!Number.isFinite(value) || value < 0)
      throw new InvalidOptionError(
        `[invalid option] the bundle's ${name} must be a number >= 0, not ${String(amount)}.`,
      );
    return [name, Math.round(value * limits.resourceUnit)];
  });
  const found = Object.fromEntries(amounts.filter(([, amount]) => amount > 0));
  if (Object.keys(found).length === 0)
    throw new InvalidOptionError("[invalid option] a bundle asks for some resource, such as CPU.");
  return found;
}

function infoOf(row: Row): PlacementGroupInfo {
  const bundles = row.bundles.map((bundle) => userAmounts(bundle));
  return { id: row.id, name: row.name, strategy: row.strategy, bundles, state: row.state };
}

/** The group of a name in this namespace. Rejects with InvalidOptionError when there is none. */
export async function getPlacementGroup(name: string): Promise<PlacementGroup> {
  const current = connection();
  const fields = { name, namespace: current.place.namespace };
  const row = (await current.request("group.byName", fields)).group as Row | null;
  if (row === null)
    throw new InvalidOptionError(`[invalid option] there is no placement group named "${name}".`);
  return new PlacementGroup(infoOf(row));
}

/** All groups that are known, removed ones too. */
export async function listPlacementGroups(): Promise<PlacementGroupInfo[]> {
  const { groups } = await connection().request("group.list");
  return (groups as Row[]).map(infoOf);
}

/** The group that this task or actor runs in; null outside of one. */
export function currentPlacementGroup(): PlacementGroup | null {
  const place = currentPlace();
  if (place === null) return null;
  const { group } = connection().requestNow("group.get", { group: place.group });
  return group === null ? null : new PlacementGroup(infoOf(group as Row));
}

/** Strategy of the `scheduling` option: run on this node; with `soft`, elsewhere when it does not exist. */
export function nodeAffinity(
  nodeId: string,
  options: { readonly soft?: boolean } = {},
): Scheduling {
  if (typeof nodeId !== "string" || !/^[0-9a-f]{8,}$/i.test(nodeId))
    throw new InvalidOptionError(`[invalid option] not a node id: ${String(nodeId)}. See nodes().`);
  return { nodeId, soft: options.soft ?? false };
}

/** Strategy of the `scheduling` option: run on a node whose labels match `hard`; `soft` is preferred. */
export function nodeLabels(rules: {
  readonly hard?: Readonly<Record<string, LabelRule>>;
  readonly soft?: Readonly<Record<string, LabelRule>>;
}): Scheduling {
  if (Object.keys({ ...rules.hard, ...rules.soft }).length === 0)
    throw new InvalidOptionError("[invalid option] nodeLabels needs hard or soft rules.");
  return { hard: rules.hard ?? {}, soft: rules.soft ?? {} };
}
