#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The command `polyray`: start, stop, and questions (docs/cli.md). Exit codes: 0 ok, 1 failure, 2 usage. `--json` prints one JSON document.
// Sub-commands are loaded when they are called, so that `--help` is quick.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { InvalidOptionError, PolyrayError } from "../base/errors.ts";
import { version } from "../base/version.ts";
import { isRecord } from "../core/checks.ts";

function number(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError("must be a number >= 0");
  return value;
}

function json(text: string): Record<string, number> {
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value)) return value as Record<string, number>;
  } catch {
    // told below
  }
  throw new InvalidArgumentError(`must be a JSON object such as '{"alice": 1}'`);
}

/** A command that asks a runtime. */
function question(cli: Command, usage: string, description: string): Command {
  return cli
    .command(usage)
    .description(description)
    .option(
      "--address <address>",
      "which runtime (default: the newest of this user, started ones first)",
      "auto",
    )
    .option("--timeout <seconds>", "wait so long for the answer", number, 30)
    .option("--json", "print one JSON document");
}

const orders = {
  object_size: "size",
  size: "size",
  pid: "pid",
  reference_type: "type",
  age: "age",
} as const;
const groupings = { node_address: "node", stack_trace: "maker" } as const;
const units = { b: "B", kb: "KB", mb: "MB", gb: "GB" } as const;

/** Ray writes these choices in capitals; both are right. */
function memoryFlag<T>(choices: Readonly<Record<string, T>>): (text: string) => T {
  return (text) => {
    const found = choices[text.toLowerCase()];
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`Allowed choices are ${Object.keys(choices).join(", ")}.`);
  };
}

const kindHelp = "tasks, actors, objects, workers, nodes, jobs, placement-groups";

function addQuestions(cli: Command): void {
  question(cli, "list <kind>", `list what the runtime runs and holds: ${kindHelp}`)
    .option(
      "-f, --filter <key=value>",
      "only rows with this value; key!=value for all others; may be said several times",
      (one: string, all: string[] | undefined) => [...(all ?? []), one],
    )
    .option("--limit <n>", "at most so many rows (highest: 10000)", number, 100)
    .option("--detail", "all fields, as blocks")
    .addOption(
      new Option("--format <format>", "how rows are printed").choices([
        "default",
        "table",
        "json",
        "yaml",
      ]),
    )
    .action(async (kind, options) => (await import("./commands/list.ts")).list(kind, options));
  question(cli, "get <kind> <id>", "show one row with all fields").action(
    async (kind, id, options) => (await import("./commands/list.ts")).get(kind, id, options),
  );
  question(
    cli,
    "summary <kind>",
    "count tasks by function, actors by class, objects by what made them",
  ).action(async (kind, options) => (await import("./commands/list.ts")).summary(kind, options));
  question(cli, "memory", "show the object store: who holds what, what made it")
    .option("--group-by <what>", "node_address or stack_trace", memoryFlag(groupings))
    .option(
      "--sort-by <key>",
      "object_size (or size; largest first), pid, reference_type or age",
      memoryFlag(orders),
      "size",
    )
    .option("--units <unit>", "sizes in B, KB, MB or GB (default: what fits)", memoryFlag(units))
    .option("--stats-only", "only how full the store is")
    .option("--limit <n>", "at most so many objects", number, 50)
    .option("--num-entries <n>", "at most so many objects of each group", number)
    .addOption(new Option("--n <n>").argParser(number).hideHelp())
    .action(async (options) => (await import("./commands/memory.ts")).memory(options));
  question(
    cli,
    "timeline [file]",
    "write what ran when, for chrome://tracing and Perfetto (-: print)",
  ).action(async (file, options) =>
    (await import("./commands/metrics.ts")).timeline(file, options),
  );
  question(cli, "metrics", "print all counters in the text form of Prometheus").action(
    async (options) => (await import("./commands/metrics.ts")).metrics(options),
  );
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
    .option("--labels-file <file>", "more labels: lines `key: value` (YAML), or a JSON object")
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
      "Ray's settings as JSON; object_spilling_config, memory_usage_threshold and memory_monitor_refresh_ms are used",
    )
    .option("--temp-dir <dir>", "root of session folders (default: the system's temporary folder)")
    .option("--namespace <name>", "default namespace of drivers")
    .option(
      "--metrics-port <port>",
      "serve the metrics for Prometheus on 127.0.0.1 (0: any port)",
      number,
    )
    .addOption(new Option("--metrics-export-port <port>").argParser(number).hideHelp())
    .option(
      "--tracing-startup-hook <hook>",
      'OpenTelemetry for all programs that join: "module:function" of Python or "module#export" of TypeScript sets the SDK up; may be said for each',
      (hook: string, all: string[] | undefined) => [...(all ?? []), hook],
    )
    .option("--block", "stay in the foreground until stopped")
    .option("--json", "print one JSON document")
    .option("--disable-usage-stats", "accepted; nothing is ever sent")
    .addOption(new Option("--ready-fd <fd>").argParser(number).hideHelp())
    .action(async (options) => (await import("./commands/start.ts")).start(options));
  question(cli, "status", "show the node, its resources and what uses them")
    .option("-v, --verbose", "show the counters of the runtime and its processes")
    .action(async (options) => (await import("./commands/status.ts")).status(options));
  addQuestions(cli);
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

// A reader that has enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await program().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    process.stderr.write(
      `polyray: ${error instanceof PolyrayError ? error.message : ((error as Error).stack ?? String(error))}\n`,
    );
    process.exitCode = error instanceof InvalidOptionError ? 2 : 1;
  }
}
