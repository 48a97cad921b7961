// SPDX-License-Identifier: Apache-2.0
// Asking the node service for rows of state (ts/runtime/state-service.ts): one request, more for long lists.

import { decode } from "@msgpack/msgpack";
import { makeError } from "../base/errors.ts";
import type { Connection } from "./connection.ts";

/** A row as it travels: Ray's field names. */
export type WireRow = Readonly<Record<string, unknown>>;
/** Field, "=" or "!=", value; texts are compared without regard to case. */
export type WireFilter = readonly [string, string, unknown];

/** The most rows of one list. */
export const maxListRows = 10_000;
/** The most events of one timeline. */
export const maxTraceEvents = 250_000;

/** What of a list is wanted. */
export interface RowQuery {
  readonly filters?: readonly WireFilter[];
  /** At most so many rows. */
  readonly limit: number;
  readonly timeoutMs: number;
}

/** Rows, how many match the filters, how many there are. */
export interface RowAnswer {
  readonly rows: readonly WireRow[];
  readonly filtered: number;
  readonly total: number;
}

/** The promise, or a GetTimeoutError. */
export async function inTime<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(makeError("GET_TIMEOUT", `${what} did not come within ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Rows of a resource. Rejects with GetTimeoutError, or with what the service says. */
export function fetchRows(
  current: Connection,
  resource: string,
  query: RowQuery,
): Promise<RowAnswer> {
  return inTime(pages(current, resource, query), query.timeoutMs, `the state of ${resource}`);
}

/** What ran when, as rows of the trace form. Rejects as fetchRows does. */
export async function fetchTimeline(
  current: Connection,
  timeoutMs: number,
): Promise<readonly WireRow[]> {
  const { rows } = await fetchRows(current, "timeline", { limit: maxTraceEvents, timeoutMs });
  return rows;
}

async function pages(
  current: Connection,
  resource: string,
  { filters = [], limit }: RowQuery,
): Promise<RowAnswer> {
  const answer = await current.request("state.list", { resource, filters, limit });
  const bytes = Number(answer.bytes);
  const parts = [answer.part as Uint8Array];
  let size = (answer.part as Uint8Array).length;
  while (size < bytes) {
    const next = await current.request("state.page", { page: answer.page, offset: size });
    parts.push(next.part as Uint8Array);
    size += (next.part as Uint8Array).length;
  }
  return {
    rows: decode(Buffer.concat(parts)) as WireRow[],
    filtered: Number(answer.filtered),
    total: Number(answer.total),
  };
}
