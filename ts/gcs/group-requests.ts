// SPDX-License-Identifier: Apache-2.0
// Requests about placement groups: create, wait, remove, find, list. The decisions are in groups.ts; the raylet reserves.
// Bundles arrive as fixed-point amounts that the client has checked. A wait is answered when the group changes or in time.

import { randomBytes } from "node:crypto";
import { PolyrayError } from "../base/errors.ts";
import type { GcsEffect, GcsEvent } from "./events.ts";
import { groupByName } from "./groups.ts";
import { type GcsState, type GroupRow, gcsLimits } from "./state.ts";

type Fields = Record<string, unknown>;

/** What groups need done. */
export interface GroupHost {
  /** `possible` false: no node can ever hold it. */
  reserveGroup(row: GroupRow, possible: boolean): void;
  releaseGroup(row: GroupRow): void;
  nowMs(): number;
}

export class GroupRequests {
  readonly #state: GcsState;
  readonly #host: GroupHost;
  readonly #apply: (event: GcsEvent) => void;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(state: GcsState, host: GroupHost, apply: (event: GcsEvent) => void) {
    this.#state = state;
    this.#host = host;
    this.#apply = apply;
  }

  handlers(): Record<string, (fields: Fields) => Fields | Promise<Fields>> {
    return {
      "group.create": (fields) => this.#create(fields),
      "group.wait": (fields) => this.#wait(String(fields.group), Number(fields.timeoutMs ?? 0)),
      "group.remove": (fields) => {
        this.#apply({ type: "group_removed", group: String(fields.group) });
        return {};
      },
      "group.byName": (fields) => {
        const row = groupByName(this.#state, String(fields.namespace ?? ""), String(fields.name));
        return { group: row };
      },
      "group.get": (fields) => ({ group: this.#state.groups.get(String(fields.group)) ?? null }),
      "group.list": () => ({ groups: [...this.#state.groups.values()] }),
    };
  }

  carryOut(effect: GcsEffect & { readonly group: string }): void {
    const row = this.#state.groups.get(effect.group);
    if (row === undefined) return;
    if (effect.type === "reserve_group") {
      // One node: bundles that must lie on different ones can never be reserved.
      const possible = row.strategy !== "STRICT_SPREAD" || row.bundles.length <= 1;
      this.#host.reserveGroup(row, possible);
    } else if (effect.type === "release_group") {
      this.#host.releaseGroup(row);
    } else {
      const waiting = this.#waiting.get(row.id);
      this.#waiting.delete(row.id);
      for (const wake of waiting ?? []) wake();
    }
  }

  #create(fields: Fields): Fields {
    const name = String(fields.name ?? "");
    const namespace = String(fields.namespace ?? "");
    const id = randomBytes(18).toString("hex");
    if (name !== "" && groupByName(this.#state, namespace, name) !== null) {
      throw new PolyrayError(
        `System error: Failed to create placement group '${id}' because name '${name}' already exists.`,
        { code: "SYSTEM" },
      );
    }
    if (this.#state.groups.size >= gcsLimits.maxGroups)
      throw new PolyrayError("[limit reached] too many placement groups are known", {
        code: "TABLE_FULL",
      });
    const row: GroupRow = {
      id,
      name,
      namespace,
      strategy: String(fields.strategy ?? "PACK"),
      bundles: (fields.bundles as Record<string, number>[] | undefined) ?? [],
      job: Number(fields.job ?? 0),
      detached: fields.lifetime === "detached",
      createdAtMs: this.#host.nowMs(),
      readyAtMs: null,
      state: "PENDING",
    };
    this.#apply({ type: "group_created", row });
    return { group: row };
  }

  #wait(id: string, timeoutMs: number): Fields | Promise<Fields> {
    const answer = (): Fields => ({ group: this.#state.groups.get(id) ?? null });
    const row = this.#state.groups.get(id);
    if (row === undefined || row.state !== "PENDING" || timeoutMs <= 0) return answer();
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, waiting);
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        resolve(answer());
      };
      const timer = setTimeout(done, timeoutMs);
      waiting.add(done);
    });
  }
}
