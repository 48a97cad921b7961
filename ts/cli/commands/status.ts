// SPDX-License-Identifier: Apache-2.0
// `polyray status`: the layout that Ray users know, or one JSON document. A started head is asked over gRPC; an embedded
// runtime is only listed, since it has no port.

import { SystemError } from "../../base/errors.ts";
import { findSession, listSessions } from "../../node/session.ts";

export interface StatusFlags {
  readonly address: string;
  readonly verbose?: true;
  readonly json?: true;
}

export async function status(flags: StatusFlags): Promise<void> {
  const sessions = listSessions();
  const started = sessions.filter((session) => !session.embedded);
  if (flags.address === "auto" && started.length === 0) {
    if (sessions.length === 0)
      throw new SystemError(
        "[system] no runtime of this user is running here. Start one with `polyray start --head`.",
      );
    const list = sessions.map((session) => ({
      address: session.address,
      pid: session.pid,
      version: session.version,
      embedded: true,
    }));
    process.stdout.write(
      flags.json === true
        ? `${JSON.stringify({ embedded: list })}\n`
        : `Embedded runtimes (each lives inside its driver):\n${list.map((s) => ` ${s.address}  pid ${s.pid}`).join("\n")}\n`,
    );
    return;
  }
  const session = flags.address === "auto" ? started[0] : findSession(flags.address);
  if (session === undefined) throw new SystemError(`[system] no runtime at ${flags.address}`);
  if (session.embedded)
    throw new SystemError(
      `[system] ${session.address} is embedded in process ${session.pid}: it has no port to ask. Use nodes() and availableResources() in a program that joins it.`,
    );
  const { GcsClient } = await import("../../wire/clients/gcs.ts");
  const client = new GcsClient(session.address, session.token);
  try {
    const answer = await client.status();
    const actors =
      flags.verbose === true || flags.json === true ? (await client.listActors()).actors : [];
    if (flags.json === true) {
      process.stdout.write(
        `${JSON.stringify({ ...answer, actors }, (key, value) => (key.startsWith("$") ? undefined : typeof value === "bigint" ? Number(value) : value))}\n`,
      );
      return;
    }
    process.stdout.write(render(answer, actors, flags.verbose === true));
  } finally {
    client.close();
  }
}

type Answer = Awaited<
  ReturnType<InstanceType<typeof import("../../wire/clients/gcs.ts").GcsClient>["status"]>
>;
type Actors = Awaited<
  ReturnType<InstanceType<typeof import("../../wire/clients/gcs.ts").GcsClient>["listActors"]>
>["actors"];

function render(answer: Answer, actors: Actors, verbose: boolean): string {
  const lines = [
    `======== Cluster status: ${new Date().toISOString()} ========`,
    `Address: ${answer.address}   Version: ${answer.version}`,
    "",
    "Node status",
    "---------------------------------------------------------------",
    "Active:",
    ...answer.nodes
      .filter((node) => node.alive)
      .map((node) => ` 1 ${node.hostname} (${node.nodeId.slice(0, 16)})`),
    "",
    "Resources",
    "---------------------------------------------------------------",
    "Usage:",
  ];
  const total = answer.total?.amounts ?? {};
  const available = answer.available?.amounts ?? {};
  for (const [name, amount] of Object.entries(total).sort()) {
    if (name.startsWith("node:")) continue;
    const used = amount - (available[name] ?? 0);
    lines.push(
      ` ${show(name, name === "object_store_memory" ? Number(answer.counters?.storeUsedBytes ?? 0) : used)}/${show(name, amount)} ${name}`,
    );
  }
  const counters = answer.counters;
  if (counters !== undefined) {
    lines.push(
      "",
      `Workers: ${counters.workers} (${counters.idleWorkers} idle, ${counters.startingWorkers} starting)   Pending demands: ${counters.queuedLeases}`,
    );
    if (verbose) {
      lines.push(
        `Objects: ${counters.objects}   Endpoints: ${counters.endpoints}   Active leases: ${counters.activeLeases}`,
        `Raylet: ${counters.bellsReceived} wake-ups, ${counters.recordsHandled} records`,
        "",
        "Actors:",
        ...actors.map(
          (actor) =>
            ` ${actor.className} ${actor.name === "" ? "" : `"${actor.name}" `}${["", "pending", "alive", "restarting", "dead"][actor.phase] ?? ""} ${actor.death}`,
        ),
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

function show(name: string, amount: number): string {
  if (!name.endsWith("memory")) return String(Number(amount.toFixed(4)));
  return amount >= 1024 ** 3
    ? `${(amount / 1024 ** 3).toFixed(2)}GiB`
    : `${(amount / 1024 ** 2).toFixed(2)}MiB`;
}
