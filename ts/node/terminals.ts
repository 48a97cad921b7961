// SPDX-License-Identifier: Apache-2.0
// Where a job's worker lines go: the standard streams that its driver handed over when it attached.
//
// Lines are prefixed `(name pid=123)`, repeated ones folded. A write never blocks the service: what the terminal does
// not take now is tried again shortly, up to a bound, after which lines are dropped and counted.
// Owned by the node service's thread; owns the descriptors.

import { closeSync, writeSync } from "node:fs";
import { LineFolder, type LogSource } from "./logs.ts";

const maxQueuedBytes = 4 * 1024 * 1024;
const nameMark = "\x1epolyray-name:";

class Stream {
  #queue: Buffer[] = [];
  #queued = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | null = null;
  readonly folder: LineFolder;

  constructor(private readonly fd: number) {
    this.folder = new LineFolder(
      (line) => this.#write(Buffer.from(`${line}\n`)),
      (run) => setTimeout(run, 1000).unref(),
    );
  }

  #write(bytes: Buffer): void {
    if (this.#queued + bytes.length > maxQueuedBytes) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#drain();
  }

  #drain(): void {
    while (this.#queue.length > 0) {
      const head = this.#queue[0] as Buffer;
      let written = 0;
      try {
        written = writeSync(this.fd, head);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") {
          this.#queue = []; // the terminal is gone
          this.#queued = 0;
          return;
        }
      }
      this.#queued -= written;
      if (written === head.length) {
        this.#queue.shift();
        continue;
      }
      this.#queue[0] = head.subarray(written);
      this.#timer ??= setTimeout(() => {
        this.#timer = null;
        this.#drain();
      }, 5).unref();
      return;
    }
    if (this.#dropped > 0) {
      const dropped = this.#dropped;
      this.#dropped = 0;
      this.#write(
        Buffer.from(
          `(polyray) ${dropped} lines of workers were dropped: the terminal does not read\n`,
        ),
      );
    }
  }

  close(): void {
    this.folder.flush();
    this.#drain();
    if (this.#timer !== null) clearTimeout(this.#timer);
    closeSync(this.fd);
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
