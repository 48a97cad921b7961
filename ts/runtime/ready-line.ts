// SPDX-License-Identifier: Apache-2.0
// The line that a head writes when it is ready, by the pipe that `--ready-fd` names.

import type { ChildProcess } from "node:child_process";
import { SystemError } from "../base/errors.ts";

/**
 * The line at the child's pipe. Rejects with a SystemError at the event `end`, if that comes first ("close": when its other
 * pipes were read too): `why` tells what the child said.
 */
export function readyLine(
  child: ChildProcess,
  fd: number,
  end: "exit" | "close",
  why: () => string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    (child.stdio[fd] as NodeJS.ReadableStream | null)?.on("data", (part: Buffer) => {
      text += part.toString();
      if (text.includes("\n")) resolve(text);
    });
    child.once("error", reject);
    child.once(end, () => reject(new SystemError(why())));
  });
}
