// SPDX-License-Identifier: Apache-2.0
// `polyray start --head`: runs a head, in the foreground with --block, else as a background process that this one waits for
// until it is ready. One that is embedded (embedded.ts) belongs to the driver that started it: no TCP, and it ends with
// the lifeline pipe.

import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidOptionError, SystemError } from "../../base/errors.ts";
import { type TracingOptions, tracingError } from "../../core/tracing.ts";
import type { HeadOptions } from "../../runtime/head.ts";
import { readyLine } from "../../runtime/ready-line.ts";
import { labelsOf } from "../labels.ts";
import { print, printJson } from "../table.ts";

export interface StartFlags {
  readonly head?: true;
  readonly address?: string;
  readonly nodeIpAddress: string;
  readonly port: number;
  readonly numCpus?: number | undefined;
  readonly numGpus?: number | undefined;
  readonly memory?: number | undefined;
  readonly resources?: Record<string, number> | undefined;
  readonly labels?: string | undefined;
  readonly labelsFile?: string;
  readonly objectStoreMemory?: number | undefined;
  readonly plasmaDirectory?: string | undefined;
  readonly objectSpillingDirectory?: readonly string[] | undefined;
  readonly systemConfig?: string | undefined;
  readonly tempDir?: string | undefined;
  readonly namespace?: string | undefined;
  readonly metricsPort?: number | undefined;
  /** Ray's name of it. */
  readonly metricsExportPort?: number;
  readonly tracingStartupHook?: readonly string[];
  readonly block?: true;
  readonly json?: true;
  readonly embedded?: true;
  readonly python?: string | undefined;
  readonly lifelineFd?: number | undefined;
  readonly readyFd?: number | undefined;
}

interface Ready {
  readonly address: string;
  readonly socketName: string;
  readonly token: string;
  readonly sessionDir: string;
  readonly sessionId: string;
  readonly nodeId: string;
  readonly pid: number;
}

export async function start(flags: StartFlags): Promise<void> {
  if (flags.tempDir !== undefined) process.env.POLYRAY_TMPDIR = flags.tempDir;
  if (flags.address !== undefined) {
    throw new SystemError(
      "[system] joining a second node to a cluster is not built yet: this version runs one node. Use `polyray start --head`.",
    );
  }
  if (flags.head !== true)
    throw new InvalidOptionError(
      "[invalid option] say `polyray start --head` to start a node here.",
    );
  if (flags.block === true || flags.embedded === true) await runHere(flags);
  else await runBehind(flags);
}

async function runHere(flags: StartFlags): Promise<void> {
  const { startHead } = await import("../../runtime/head.ts");
  const head = await startHead(headOptions(flags));
  const ready: Ready = {
    address: head.address,
    socketName: head.socketName,
    token: head.token,
    sessionDir: head.sessionDir,
    sessionId: head.sessionId,
    nodeId: head.nodeId,
    pid: process.pid,
  };
  if (flags.readyFd !== undefined) {
    writeSync(flags.readyFd, `${JSON.stringify(ready)}\n`);
    closeSync(flags.readyFd);
  }
  if (flags.embedded !== true) announce(flags, ready);
  await head.ended;
  process.exit(0);
}

function headOptions(flags: StartFlags): HeadOptions {
  const systemConfig = flags.systemConfig === undefined ? {} : settingsOf(flags.systemConfig);
  return {
    numCpus: flags.numCpus,
    numGpus: flags.numGpus,
    memory: flags.memory,
    resources: flags.resources,
    labels: labelsOf(flags.labels, flags.labelsFile),
    objectStoreMemory: flags.objectStoreMemory,
    plasmaDirectory: flags.plasmaDirectory,
    objectSpillingDirectory: flags.objectSpillingDirectory ?? spillingOf(systemConfig),
    systemConfig,
    namespace: flags.namespace,
    metricsPort: flags.metricsPort ?? flags.metricsExportPort,
    tcp: flags.embedded === true ? null : { host: flags.nodeIpAddress, port: flags.port },
    python: flags.python,
    lifelineFd: flags.lifelineFd,
    tracing: tracingOf(flags.tracingStartupHook),
  };
}

/** The hooks of both languages: TypeScript's have a #. */
function tracingOf(hooks: readonly string[] | undefined): TracingOptions | undefined {
  if (hooks === undefined) return undefined;
  const setup = hooks.findLast((hook) => hook.includes("#"));
  const pythonSetup = hooks.findLast((hook) => !hook.includes("#"));
  const options = {
    ...(setup === undefined ? {} : { setup }),
    ...(pythonSetup === undefined ? {} : { pythonSetup }),
  };
  const wrong = tracingError(options);
  if (wrong !== null)
    throw new InvalidOptionError(
      `[invalid option] --tracing-startup-hook is "module:function" of Python or "module#export" of TypeScript, not ${hooks.join(", ")}.`,
    );
  return options;
}

function settingsOf(json: string): Readonly<Record<string, unknown>> {
  return checked(() => {
    const settings: unknown = JSON.parse(json);
    if (typeof settings !== "object" || settings === null) throw new Error("it is not an object");
    return settings as Record<string, unknown>;
  });
}

/** The folders of Ray's older `object_spilling_config`: JSON text inside the JSON of `--system-config`. */
function spillingOf({ object_spilling_config: inner }: Readonly<Record<string, unknown>>) {
  if (inner === undefined) return undefined;
  return checked(() => {
    const config = (typeof inner === "string" ? JSON.parse(inner) : inner) as {
      type?: string;
      params?: { directory_path?: string | string[] };
    };
    if (config.type !== "filesystem") throw new Error(`type "${config.type}" is not supported`);
    const folders = config.params?.directory_path ?? [];
    return typeof folders === "string" ? [folders] : folders;
  });
}

function checked<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new InvalidOptionError(
      `[invalid option] --system-config: ${(error as Error).message}. For example: '{"object_spilling_config": "{\\"type\\":\\"filesystem\\",\\"params\\":{\\"directory_path\\":\\"/tmp/spill\\"}}"}'.`,
      { cause: error },
    );
  }
}

async function runBehind(flags: StartFlags): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), "polyray-start-"));
  const log = openSync(join(scratch, "log"), "w+");
  try {
    const child = spawn(
      process.execPath,
      [...process.execArgv, ...process.argv.slice(1), "--block", "--ready-fd", "3"],
      {
        detached: true,
        stdio: ["ignore", log, log, "pipe"],
      },
    );
    const line = await readyLine(child, 3, "exit", () => {
      const said = readFileSync(join(scratch, "log"), "utf8").trim();
      return said.replace(/^polyray: /, "") || "the head ended at once";
    });
    child.unref();
    (child.stdio[3] as { destroy(): void } | null)?.destroy();
    announce(flags, JSON.parse(line) as Ready);
  } finally {
    closeSync(log);
    rmSync(scratch, { recursive: true, force: true });
  }
  process.exit(0);
}

function announce(flags: StartFlags, ready: Ready): void {
  if (flags.json === true) {
    const { token: _token, ...shown } = ready;
    return printJson(shown);
  }
  print([
    `polyray runtime started (pid ${ready.pid}).`,
    "",
    `  join from a terminal:    polyray start --address='${ready.address}'`,
    `  join from TypeScript:    await init({ address: "${ready.address}" })`,
    `  join from Python:        polyray.init(address="${ready.address}")`,
    "  see what it does:        polyray status",
    "  stop it:                 polyray stop",
  ]);
}
