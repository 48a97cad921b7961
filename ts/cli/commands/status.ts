// SPDX-License-Identifier: Apache-2.0
// `polyray status`: the layout that Ray users know, or one JSON document; with --verbose the counters of docs/cli.md.

import { hostname } from "node:os";
import { tally } from "../../api/state-summary.ts";
import { fetchRows, maxListRows, type WireRow } from "../../core/state-request.ts";
import { listSessions } from "../../node/session.ts";
import type { Role } from "../../runtime/system-metrics.ts";
import { type AskFlags, ask } from "../ask.ts";
import { count, print, printJson, size, table } from "../table.ts";

export interface StatusFlags extends AskFlags {
  readonly verbose?: true;
}

type Amounts = Readonly<Record<string, number>>;

interface Answer {
  readonly address: string;
  readonly version: string;
  readonly embedded: boolean;
  readonly pid: number;
  readonly metricsPort: number | null;
  readonly nodes: readonly { nodeId: string; hostname: string; alive: boolean }[];
  readonly total: Amounts;
  readonly available: Amounts;
  readonly counters: Amounts;
  readonly roles: readonly Role[];
  readonly actors: readonly WireRow[];
}

const line = "-".repeat(63);

export async function status(flags: StatusFlags): Promise<void> {
  const answer = await ask(flags, async (current, timeoutMs, session) => {
    const stats = await current.request("node.stats");
    const { rows } = await fetchRows(current, "actors", { limit: maxListRows, timeoutMs });
    const { embedded, pid, startedAtMs } = session;
    return { ...stats, embedded, pid, startedAtMs, actors: rows };
  });
  if (flags.json === true) {
    const { ok: _ok, ...shown } = answer as Record<string, unknown>;
    return printJson(shown);
  }
  print(render(answer as unknown as Answer, flags.verbose === true));
}

function render(answer: Answer, verbose: boolean): string[] {
  const { counters } = answer;
  const number = (name: string): number => counters[name] ?? 0;
  const lines = [
    `======== Cluster status: ${new Date().toISOString()} ========`,
    `Address: ${answer.address}   Version: ${answer.version}`,
    ...(answer.embedded ? [`Embedded in process ${answer.pid}`] : []),
    ...(answer.metricsPort === null
      ? []
      : [`Metrics: http://127.0.0.1:${answer.metricsPort}/metrics`]),
    "",
    "Node status",
    line,
    "Active:",
    ...answer.nodes
      .filter((node) => node.alive)
      .map((node) => ` 1 ${node.hostname || hostname()} (${node.nodeId.slice(0, 16)})`),
    "",
    "Resources",
    line,
    "Usage:",
    ...usage(answer),
    "",
    `Workers: ${number("workers")} (${number("idleWorkers")} idle, ${number("startingWorkers")} starting)   Pending demands: ${number("queuedLeases")}`,
  ];
  if (verbose) lines.push(...details(answer));
  const others = listSessions().filter((session) => session.address !== answer.address);
  if (others.length > 0)
    lines.push(
      "",
      "Other runtimes here (polyray status --address ...):",
      ...others.map((one) => ` ${one.address}  pid ${one.pid}${one.embedded ? "  embedded" : ""}`),
    );
  return lines;
}

function usage({ total, available, counters }: Answer): string[] {
  return Object.entries(total)
    .filter(([name]) => !name.startsWith("node:"))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, amount]) => {
      const used =
        name === "object_store_memory"
          ? (counters.storeUsedBytes ?? 0)
          : amount - (available[name] ?? 0);
      return ` ${amountText(name, used)}/${amountText(name, amount)} ${name}`;
    });
}

function amountText(name: string, amount: number): string {
  if (!name.endsWith("memory")) return String(Number(amount.toFixed(4)));
  return size(amount).replace(" ", "");
}

function details(answer: Answer): string[] {
  const n = (name: string): number => answer.counters[name] ?? 0;
  const states = Object.entries(tally(answer.actors, (row) => String(row.state)));
  const pairs: [string, string][] = [
    [
      "Leases",
      `${n("activeLeases")} in use, ${n("queuedLeases")} waited for, ${count(n("leasesGranted"))} granted`,
    ],
    ["Workers started", count(n("workersStarted"))],
    ["Actors", states.map(([state, many]) => `${many} ${state}`).join(", ") || "none"],
    [
      "Objects",
      `${count(n("objects"))}, ${size(n("storeUsedBytes"))} of ${size(n("storeCapacityBytes"))}`,
    ],
    ["Store pieces", `${count(n("extents"))} now, ${count(n("extentsGranted"))} given out`],
    ["Page reuse", `${size(n("pagesReusedBytes"))} used again, ${size(n("pagesFreshBytes"))} new`],
    [
      "Slabs",
      `${count(n("slabs"))}, ${count(n("slabSlotsUsed"))} of ${count(n("slabSlots"))} slots used`,
    ],
    [
      "Spilled",
      `${count(n("spilledObjects"))} objects, ${size(n("spilledBytes"))} on disk; ${size(n("spilledTotalBytes"))} ever written`,
    ],
    ["Restored", `${count(n("spillReads"))} reads, ${size(n("spillReadBytes"))}`],
    [
      "Control memory",
      `${count(n("entryChunks"))} object, ${count(n("recordChunks"))} call, ${count(n("ringChunks"))} ring, ${count(n("eventChunks"))} event chunks`,
    ],
    ["Raylet", `${count(n("bellsReceived"))} wake-ups, ${count(n("recordsHandled"))} records`],
  ];
  return [
    "",
    "Counters",
    line,
    ...pairs.map(([name, value]) => ` ${name.padEnd(16)} ${value}`),
    "",
    ...roleTable(answer.roles),
    ...actorTable(answer.actors),
  ];
}

// One column a role, so that it stays narrow.
function roleTable(all: readonly Role[]): string[] {
  const roles = all.filter((one) => one.role !== "client");
  const short: Readonly<Record<string, string>> = { typescript: " ts", python: " py", native: "" };
  const rows: [string, (role: Role) => string][] = [
    ["processes now", (r) => String(r.processes)],
    ["processes ended", (r) => String(r.ended)],
    ["tasks submitted", (r) => count(r.counts.tasksSubmitted)],
    ["actor calls", (r) => count(r.counts.actorCallsSubmitted)],
    ["calls finished", (r) => count(r.counts.callsFinished)],
    ["calls failed", (r) => count(r.counts.callsFailed)],
    ["calls to retry", (r) => count(r.counts.callsRetried)],
    ["calls cancelled", (r) => count(r.counts.callsCancelled)],
    ["given up", (r) => count(r.counts.givenUp)],
    ["retries sent", (r) => count(r.counts.retries)],
    ["leases received", (r) => count(r.counts.leasesGranted)],
    ["leases reused", (r) => count(Math.max(0, r.counts.tasksSent - r.counts.leasesGranted))],
    ["tasks taken back", (r) => count(r.counts.retracted)],
    ["records sent", (r) => count(r.counts.recordsSent)],
    ["bells rung", (r) => count(r.counts.bellsRung)],
    ["bells saved", (r) => count(Math.max(0, r.counts.recordsSent - r.counts.bellsRung))],
    ["ring depth", (r) => `${count(r.ringDepth)}/${count(r.rings)}`],
    ["fullest ring", (r) => count(r.deepestRing)],
    ["puts", (r) => count(r.counts.puts)],
    ["put bytes", (r) => shortSize(r.counts.putBytes)],
    ["read in place", (r) => shortSize(r.counts.zeroCopyBytes)],
    ["memory requests", (r) => count(r.counts.extentRequests)],
    ["slabs taken", (r) => count(r.counts.slabGranules)],
    ["pages new", (r) => shortSize(r.counts.populatedBytes)],
    ["pages reused", (r) => shortSize(r.counts.pagesReusedBytes)],
  ];
  return table(rows, [
    { title: "PROCESSES", text: ([name]) => name },
    ...roles.map((role) => ({
      title: `${role.role}${short[role.language] ?? ""}`,
      text: ([, value]: [string, (role: Role) => string]) => value(role),
      right: true,
    })),
  ]);
}

const shortSize = (bytes: number): string => size(bytes).replace(/iB$/, "").replace(" ", "");

function actorTable(actors: readonly WireRow[]): string[] {
  if (actors.length === 0) return [];
  return [
    "",
    ...table(actors.slice(-20), [
      { title: "ACTOR", text: (row) => String(row.class_name), cut: true },
      { title: "NAME", text: (row) => String(row.name || "-"), cut: true },
      { title: "STATE", text: (row) => String(row.state) },
      { title: "PID", text: (row) => String(row.pid || "-"), right: true },
    ]),
  ];
}
