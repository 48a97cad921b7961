// SPDX-License-Identifier: Apache-2.0
// Runs the tools that make environments (pip, uv, npm): one group of processes each, output kept for error texts, ended
// at the time limit and when the runtime stops. The session's mark lets the guardian end what a killed runtime leaves.

import { spawn } from "node:child_process";
import { RuntimeEnvSetupError } from "../../base/errors.ts";

export interface Command {
  /** Named in errors: "pip install". */
  readonly step: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds; Infinity: none. */
  readonly timeoutMs: number;
}

const keptBytes = 64 * 1024;
const shownLines = 15;

export class Commands {
  readonly #sessionId: string;
  readonly #groups = new Set<number>();
  #stopped = false;

  constructor(sessionId: string) {
    this.#sessionId = sessionId;
  }

  /** Resolves with what it printed; rejects with RuntimeEnvSetupError naming the step, with the last lines. */
  run(command: Command): Promise<string> {
    if (this.#stopped) return Promise.reject(failure(command, "the runtime has ended", ""));
    const [program = "", ...args] = command.argv;
    return new Promise((resolve, reject) => {
      let text = "";
      const child = spawn(program, args, {
        cwd: command.cwd,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...command.env, POLYRAY_SESSION_ID: this.#sessionId },
      });
      child.unref();
      const group = child.pid;
      if (group !== undefined) this.#groups.add(group);
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8");
        stream.on("data", (piece: string) => {
          text = (text + piece).slice(-keptBytes);
        });
      }
      let late = false;
      const timer = Number.isFinite(command.timeoutMs)
        ? setTimeout(() => {
            late = true;
            endGroup(group);
          }, command.timeoutMs)
        : undefined;
      const done = (): void => {
        clearTimeout(timer);
        if (group !== undefined) this.#groups.delete(group);
      };
      child.once("error", (error) => {
        done();
        reject(failure(command, `${program} could not be run (${error.message})`, ""));
      });
      child.once("close", (code, signal) => {
        done();
        if (code === 0) resolve(text);
        else if (late)
          reject(failure(command, `it took more than ${command.timeoutMs / 1000} s`, text));
        else reject(failure(command, signal === null ? `exit code ${code}` : signal, text));
      });
    });
  }

  /** Ends what runs. */
  stop(): void {
    this.#stopped = true;
    for (const group of this.#groups) endGroup(group);
  }
}

function endGroup(group: number | undefined): void {
  try {
    if (group !== undefined) process.kill(-group, "SIGKILL");
  } catch {
    // it has ended
  }
}

function failure(command: Command, why: string, output: string): RuntimeEnvSetupError {
  const tail = output.trim().split("\n").slice(-shownLines).join("\n");
  return new RuntimeEnvSetupError(
    `[runtime env] Failed to set up runtime environment: ${command.step} failed: ${why}.${tail === "" ? "" : ` Its output ends with:\n${tail}`}`,
  );
}
