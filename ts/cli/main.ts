#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The command `polyray`: start, status, stop. Exit codes: 0 ok, 1 failure, 2 usage. `--json` prints one JSON document.
// Sub-commands are loaded when they are called, so that `--help` and the embedded start are quick.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { PolyrayError } from "../base/errors.ts";
import { version } from "../base/version.ts";

function number(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError("must be a number >= 0");
  return value;
}

function json(text: string): Record<string, number> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, number>;
  } catch {
    // told below
  }
  throw new InvalidArgumentError(`must be a JSON object such as '{"alice": 1}'`);
}

function program(): Command {
  const cli = new Command("polyray")
    .description(
      "One runtime for TypeScript and Python programs: tasks, actors and shared objects.",
    )
    .version(version)
    .exitOverride()
    .showHelpAfterError("(--help shows all options)");
  cli
    .command("start")
    .description("start a node on this machine; programs join it by the address that it prints")
    .option("--head", "this node hosts the control service")
    .option("--address <host:port>", "join the cluster of this head")
    .option("--node-ip-address <ip>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port of the control service (0: any)", number, 6379)
    .option("--num-cpus <n>", "logical CPUs (default: those of the machine)", number)
    .option("--num-gpus <n>", "logical GPUs (default: 0)", number)
    .option("--memory <bytes>", "logical memory for tasks (default: 70 % of the machine's)", number)
    .option("--resources <json>", `custom resources, such as '{"alice": 1}'`, json)
    .option("--labels <key=value,...>", "labels of this node")
    .option(
      "--object-store-memory <bytes>",
      "size of the object store (default: 30 % of memory)",
      number,
    )
    .option(
      "--plasma-directory <dir>",
      "keep the store in a file there instead of anonymous memory",
    )
    .option(
      "--object-spilling-directory <dir>",
      "folder for what the store has no room for; may be said several times (default: the session's own)",
      (folder: string, all: string[] | undefined) => [...(all ?? []), folder],
    )
    .option(
      "--system-config <json>",
      "Ray's settings as JSON; object_spilling_config is used, others are ignored",
    )
    .option("--temp-dir <dir>", "root of session folders (default: the system's temporary folder)")
    .option("--namespace <name>", "default namespace of drivers")
    .option("--block", "stay in the foreground until stopped")
    .option("--json", "print one JSON document")
    .option("--disable-usage-stats", "accepted; nothing is ever sent")
    .addOption(new Option("--embedded", "started by a driver for itself: no TCP").hideHelp())
    .addOption(new Option("--lifeline-fd <fd>").argParser(number).hideHelp())
    .addOption(new Option("--ready-fd <fd>").argParser(number).hideHelp())
    .action(async (options) => (await import("./commands/start.ts")).start(options));
  cli
    .command("status")
    .description("show the node, its resources and what uses them")
    .option("--address <address>", "which runtime (default: the newest of this user)", "auto")
    .option("-v, --verbose", "show counters of the raylet and the actors")
    .option("--json", "print one JSON document")
    .action(async (options) => (await import("./commands/status.ts")).status(options));
  cli
    .command("stop")
    .description("stop the runtimes of this user that were begun by `polyray start`")
    .option("--address <address>", "only this one")
    .option("-f, --force", "do not wait for tasks: kill at once")
    .option("-g, --grace-period <seconds>", "wait so long before killing", number, 16)
    .option("--json", "print one JSON document")
    .action(async (options) => (await import("./commands/stop.ts")).stop(options));
  return cli;
}

try {
  await program().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    process.stderr.write(
      `polyray: ${error instanceof PolyrayError ? error.message : ((error as Error).stack ?? String(error))}\n`,
    );
    process.exitCode = 1;
  }
}
