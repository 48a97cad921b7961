// SPDX-License-Identifier: Apache-2.0
// What the mixed-language tests share: a runtime per file with the Python fixtures on the path, watchdogs, and programs run
// in a process of their own, in either language.

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import Module from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { init, type Runtime, shutdown } from "polyray";
import t from "tap";

/** The folder of the fixtures, and the root of the repository. */
export const fixtures = fileURLToPath(new URL("./fixtures", import.meta.url));
export const root = fileURLToPath(new URL("../../..", import.meta.url));
/** The Python of the project, which has the package. */
export const venvPython = join(root, ".venv", "bin", "python");

const watchdogMs = 60_000;

/** Starts a runtime for this file's tests, with the Python fixtures importable in workers, and ends it after them. */
export async function startRuntime(options: Parameters<typeof init>[0] = {}): Promise<Runtime> {
  process.env.PYTHONPATH = fixtures;
  const runtime = await init({
    numCpus: 2,
    objectStoreMemory: "128MiB",
    logToDriver: false,
    ...options,
  });
  t.teardown(() => shutdown());
  return runtime;
}

export type Caught = Error & Record<string, unknown>;

/** The promise, or a failure that says what never came. */
export async function within<T>(
  promise: Promise<T>,
  what: string,
  limitMs = watchdogMs,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const watchdog = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`watchdog: ${what} did not settle`)), limitMs);
  });
  try {
    return await Promise.race([promise, watchdog]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a promise rejects with; fails when it does not, or not in time. */
export async function rejection(promise: Promise<unknown>): Promise<Caught> {
  let value: unknown;
  try {
    value = await within(promise, "a promise that must reject");
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("watchdog:")) throw error;
    return error as Caught;
  }
  throw new Error(`it did not reject but gave ${String(value)}`);
}

/** What a function throws. */
export function thrown(run: () => unknown): Caught {
  try {
    run();
  } catch (error) {
    return error as Caught;
  }
  throw new Error("it did not throw");
}

/** Waits until `check` is true, under a watchdog. */
export async function until(check: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + watchdogMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`watchdog: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a program to its end; the watchdog kills it. */
export function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, PYTHONPATH: fixtures, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text.out += part));
  child.stderr.setEncoding("utf8").on("data", (part: string) => (text.err += part));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`watchdog: ${command} ${args.join(" ")}\n${text.out}\n${text.err}`));
    }, watchdogMs);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...text });
    });
  });
}

/** Runs a Python program of the fixtures, or source by `-c`, with the project's Python. */
export function runPython(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return run(venvPython, args, { PYTHONPATH: fixtures, ...env });
}

/** Runs a TypeScript program of the fixtures. */
export function runTypeScript(
  file: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  return run(process.execPath, ["--import", "tsx", join(fixtures, file), ...args], env);
}

/** Runs the command `polyray`. */
export function polyray(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return run(process.execPath, [join(root, "dist", "cli", "main.js"), ...args], env);
}

/** What `polyray start --head` tells of the runtime. */
export interface Head {
  readonly address: string;
  readonly sessionId: string;
  readonly sessionDir: string;
  readonly pid: number;
}

/** Starts a small head at any port. */
export async function startHead(...more: string[]): Promise<Head> {
  const size = ["--num-cpus", "1", "--object-store-memory", String(64 * 2 ** 20)];
  const { code, out, err } = await polyray([
    "start",
    "--head",
    "--port",
    "0",
    ...size,
    ...more,
    "--json",
  ]);
  if (code !== 0) throw new Error(`the head did not start: ${err}`);
  return JSON.parse(out) as Head;
}

/** The lines of JSON in the logs of a session's workers. */
export function jsonLogLines(sessionDir: string): Record<string, unknown>[] {
  const logs = join(sessionDir, "logs");
  return readdirSync(logs)
    .filter((name) => name.startsWith("worker-"))
    .flatMap((name) => readFileSync(join(logs, name), "utf8").split("\n"))
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** A new empty folder, removed after the file's tests. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "polyray-mixed-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Whether a process lives (a zombie does not). */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Processes other than this one that carry a session's mark in their environment. */
export function processesOf(sessionId: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return isAlive(pid) && readFileSync(`/proc/${pid}/environ`, "latin1").includes(sessionId);
      } catch {
        return false;
      }
    });
}

/** Unix sockets of a session. */
export function socketsOf(sessionId: string): string[] {
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .filter((line) => line.includes(sessionId));
}

/** Runs it as in a program that has not installed the package. */
export async function withoutPackage(missing: string, run: () => Promise<void>): Promise<void> {
  const loader = Module as unknown as {
    _resolveFilename: (name: string, ...rest: unknown[]) => string;
  };
  const plain = loader._resolveFilename;
  loader._resolveFilename = (name, ...rest) => {
    if (name === missing) throw new Error("not installed");
    return plain(name, ...rest);
  };
  try {
    await run();
  } finally {
    loader._resolveFilename = plain;
  }
}
