// SPDX-License-Identifier: Apache-2.0
// Tails the log files of workers and hands on whole lines, prefixed and folded.
//
// Every worker writes to logs/worker-<token>.out and .err; one inotify watch on the folder tells when something was
// written (no polling). A line that repeats within one second from any worker is counted, not printed again.
// Owned by the node service's thread. flush() reads what is left, so that last words of a dead worker are not lost.

import { closeSync, type FSWatcher, fstatSync, openSync, readSync, watch } from "node:fs";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";

export interface LogSource {
  readonly token: bigint;
  readonly job: number;
  readonly pid: number;
  /** Name shown before the pid: task, class or language of the worker. */
  name: string;
}

export type LineSink = (source: LogSource, stream: "out" | "err", lines: string[]) => void;

interface Tail {
  readonly source: LogSource;
  readonly stream: "out" | "err";
  readonly fd: number;
  position: number;
  rest: string;
  readonly decoder: StringDecoder;
}

const chunk = Buffer.alloc(64 * 1024);

/** Paths of the two files of a worker in the folder of logs. */
export function logFiles(folder: string, token: bigint): { out: string; err: string } {
  return { out: join(folder, `worker-${token}.out`), err: join(folder, `worker-${token}.err`) };
}

export class LogTailer {
  readonly #tails = new Map<string, Tail>();
  readonly #watcher: FSWatcher;
  readonly #dir: string;
  readonly #sink: LineSink;
  readonly #lastLines = new Map<string, string[]>();

  constructor(dir: string, sink: LineSink) {
    this.#dir = dir;
    this.#sink = sink;
    this.#watcher = watch(dir, { persistent: false }, (_event, name) => {
      const tail = name === null ? undefined : this.#tails.get(name);
      if (tail !== undefined) this.#read(tail, false);
    });
  }

  /** Paths of the two files of a worker. */
  files(token: bigint): { out: string; err: string } {
    return logFiles(this.#dir, token);
  }

  add(source: LogSource): void {
    for (const stream of ["out", "err"] as const) {
      const path = this.files(source.token)[stream];
      const fd = openSync(path, "a+", 0o600);
      const tail: Tail = {
        source,
        stream,
        fd,
        position: 0,
        rest: "",
        decoder: new StringDecoder("utf8"),
      };
      this.#tails.set(`worker-${source.token}.${stream}`, tail);
      this.#read(tail, false);
    }
  }

  /** Reads what is left of a worker, forgets it, and returns its last lines for error texts. */
  remove(token: bigint): string[] {
    const last: string[] = [];
    for (const stream of ["out", "err"] as const) {
      const name = `worker-${token}.${stream}`;
      const tail = this.#tails.get(name);
      if (tail === undefined) continue;
      this.#read(tail, true);
      closeSync(tail.fd);
      this.#tails.delete(name);
      last.push(...(this.#lastLines.get(name) ?? []));
      this.#lastLines.delete(name);
    }
    return last.slice(-10);
  }

  flush(): void {
    for (const tail of this.#tails.values()) this.#read(tail, true);
  }

  close(): void {
    this.flush();
    this.#watcher.close();
    for (const tail of this.#tails.values()) closeSync(tail.fd);
    this.#tails.clear();
  }

  #read(tail: Tail, end: boolean): void {
    let text = tail.rest;
    for (;;) {
      const size = fstatSync(tail.fd).size;
      if (tail.position >= size) break;
      const bytes = readSync(tail.fd, chunk, 0, chunk.length, tail.position);
      if (bytes === 0) break;
      tail.position += bytes;
      text += tail.decoder.write(chunk.subarray(0, bytes));
    }
    const lines = text.split("\n");
    tail.rest = lines.pop() ?? "";
    if (end && tail.rest !== "") {
      lines.push(tail.rest);
      tail.rest = "";
    }
    if (lines.length === 0) return;
    const name = `worker-${tail.source.token}.${tail.stream}`;
    this.#lastLines.set(name, [...(this.#lastLines.get(name) ?? []), ...lines].slice(-5));
    this.#sink(tail.source, tail.stream, lines);
  }
}

/** Which lines are folded, and which are left out (RAY_DEDUP_LOGS and its regular expressions). */
export interface FoldRules {
  readonly folds: boolean;
  /** Lines that are never folded. */
  readonly allow: RegExp | null;
  /** Lines that are not printed. */
  readonly skip: RegExp | null;
}

/** The rules that an environment sets: POLYRAY_DEDUP_LOGS before RAY_DEDUP_LOGS; "0" folds nothing. */
export function foldRules(env: Record<string, string | undefined>): FoldRules {
  const of = (name: string) => env[`POLYRAY_${name}`] ?? env[`RAY_${name}`];
  const pattern = (name: string) => {
    const text = of(name);
    if (text === undefined || text === "") return null;
    try {
      return new RegExp(text);
    } catch {
      return null; // not one of JavaScript's: as if it was not there
    }
  };
  return {
    folds: of("DEDUP_LOGS") !== "0",
    allow: pattern("DEDUP_LOGS_ALLOW_REGEX"),
    skip: pattern("DEDUP_LOGS_SKIP_REGEX"),
  };
}

/**
 * Folds repeated lines: the first goes through, equal ones within `windowMs` are counted and told once at the end of the
 * window. `schedule` is setTimeout of the shell; pure otherwise.
 */
export class LineFolder {
  readonly #seen = new Map<string, { count: number; prefix: string }>();
  constructor(
    private readonly write: (line: string) => void,
    private readonly schedule: (run: () => void) => void,
    private readonly rules: FoldRules = foldRules({}),
  ) {}

  line(prefix: string, text: string): void {
    const { folds, allow, skip } = this.rules;
    if (skip?.test(text)) return;
    if (!folds || allow?.test(text)) {
      this.write(`${prefix} ${text}`);
      return;
    }
    const known = this.#seen.get(text);
    if (known !== undefined && text.trim() !== "") {
      known.count += 1;
      known.prefix = prefix;
      return;
    }
    this.write(`${prefix} ${text}`);
    if (text.trim() === "") return;
    this.#seen.set(text, { count: 0, prefix });
    this.schedule(() => this.#settle(text));
  }

  #settle(text: string): void {
    const known = this.#seen.get(text);
    this.#seen.delete(text);
    if (known === undefined || known.count === 0) return;
    const times = known.count === 1 ? "" : ` [repeated ${known.count}x]`;
    this.write(`${known.prefix} ${text}${times}`);
  }

  /** Tells all counts now. */
  flush(): void {
    for (const text of [...this.#seen.keys()]) this.#settle(text);
  }
}
