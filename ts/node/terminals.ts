// SPDX-License-Identifier: Apache-2.0
// Where a job's worker lines go: the standard streams that its driver handed over when it attached.
//
// Lines are prefixed `(name pid=123)`, repeated ones folded. A write never blocks the service: what the terminal does
// not take now is tried again shortly, up to a bound, after which lines are dropped and counted.
// Owned by the node service's thread; owns the descriptors.

import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";
import { foldRules, LineFolder, type LogSource } from "./logs.ts";

const maxQueuedBytes = 4 * 1024 * 1024;
const nameMark = "\x1epolyray-name:";

// Opens a pipe or terminal anew as non-blocking, without touching the driver's own description. Sockets cannot be opened
// anew: those are written from the thread pool. Files never block.
function nonBlocking(fd: number): { fd: number; pooled: boolean } {
  const stat = fstatSync(fd);
  if (stat.isSocket()) return { fd, pooled: true };
  if (!stat.isFIFO() && !stat.isCharacterDevice()) return { fd, pooled: false };
  try {
    const own = openSync(
      `/proc/self/fd/${fd}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
    closeSync(fd);
    return { fd: own, pooled: false };
  } catch {
    return { fd, pooled: true }; // not ours to open (another user's terminal)
  }
}

class Stream {
  readonly #fd: number;
  readonly #pooled: boolean;
  #queue: Buffer[] = [];
  #queued = 0;
  #dropped = 0;
  #writing = false;
  #closed = false;
  #timer: NodeJS.Timeout | null = null;
  readonly folder: LineFolder;

  constructor(fd: number) {
    const opened = nonBlocking(fd);
    this.#fd = opened.fd;
    this.#pooled = opened.pooled;
    this.folder = new LineFolder(
      (line) => this.#write(Buffer.from(`${line}\n`)),
      (run) => setTimeout(run, 1000).unref(),
      foldRules(process.env),
    );
  }

  #write(bytes: Buffer): void {
    if (this.#queued + bytes.length > maxQueuedBytes) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    if (this.#pooled) this.#drainPooled();
    else this.#drain();
  }

  #drain(): void {
    while (this.#queue.length > 0) {
      const head = this.#queue[0] as Buffer;
      let written = 0;
      try {
        written = writeSync(this.#fd, head);
      } catch (error) {
        if (!this.#mayRetry(error)) return;
      }
      if (this.#took(head, written)) continue;
      this.#later(() => this.#drain());
      return;
    }
    this.#tellDropped();
  }

  #drainPooled(): void {
    if (this.#writing) return;
    const head = this.#queue[0];
    if (head === undefined) {
      this.#tellDropped();
      return;
    }
    this.#writing = true;
    write(this.#fd, head, (error, written) => {
      this.#writing = false;
      if (this.#closed) {
        closeSync(this.#fd);
        return;
      }
      if (error !== null && !this.#mayRetry(error)) return;
      if (this.#took(head, error === null ? written : 0)) this.#drainPooled();
      else this.#later(() => this.#drainPooled());
    });
  }

  // False: the terminal is gone, and what waits for it too.
  #mayRetry(error: unknown): boolean {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return true;
    this.#queue = [];
    this.#queued = 0;
    return false;
  }

  #took(head: Buffer, written: number): boolean {
    this.#queued -= written;
    if (written < head.length) this.#queue[0] = head.subarray(written);
    else this.#queue.shift();
    return written === head.length;
  }

  #later(run: () => void): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      run();
    }, 5).unref();
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const dropped = this.#dropped;
    this.#dropped = 0;
    this.#write(
      Buffer.from(
        `(polyray) ${dropped} lines of workers were dropped: the terminal does not read\n`,
      ),
    );
  }

  close(): void {
    this.folder.flush();
    // A pooled write that is still out may be stuck: then what waits is lost, and the write closes the descriptor.
    if (!this.#writing) this.#drain();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#closed = true;
    if (!this.#writing) closeSync(this.#fd);
  }
}

export class Terminals {
  readonly #jobs = new Map<number, { out: Stream; err: Stream; endpoints: number }>();

  /** A driver joined with its streams (descriptors are ours from now on); -1: it wants no lines. */
  add(job: number, stdoutFd: number, stderrFd: number): void {
    const known = this.#jobs.get(job);
    if (known !== undefined) {
      known.endpoints += 1;
      for (const fd of [stdoutFd, stderrFd]) if (fd >= 0) closeSync(fd);
      return;
    }
    if (stdoutFd < 0 || stderrFd < 0) return;
    this.#jobs.set(job, { out: new Stream(stdoutFd), err: new Stream(stderrFd), endpoints: 1 });
  }

  remove(job: number): void {
    const streams = this.#jobs.get(job);
    if (streams === undefined) return;
    streams.endpoints -= 1;
    if (streams.endpoints > 0) return;
    this.#jobs.delete(job);
    streams.out.close();
    streams.err.close();
  }

  /** Lines of one worker. */
  lines(source: LogSource, stream: "out" | "err", lines: readonly string[]): void {
    const streams = this.#jobs.get(source.job);
    for (const line of lines) {
      if (line.startsWith(nameMark)) {
        source.name = line.slice(nameMark.length);
        continue;
      }
      streams?.[stream].folder.line(`(${source.name} pid=${source.pid})`, line);
    }
  }

  /** A line of the runtime itself, to one job or (0) to all. */
  notice(job: number, text: string): void {
    for (const [number, streams] of this.#jobs) {
      if (job === 0 || job === number) streams.err.folder.line("(polyray)", text);
    }
  }

  close(): void {
    for (const streams of this.#jobs.values()) {
      streams.out.close();
      streams.err.close();
    }
    this.#jobs.clear();
  }
}
