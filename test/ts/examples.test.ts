// SPDX-License-Identifier: Apache-2.0
// Goal: the TypeScript half of every example runs, says something, ends by itself, and is short.
// Method: each main.ts as a program of its own, with a smaller amount of work where it takes one.

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const examples = fileURLToPath(new URL("../../examples/", import.meta.url));
const smaller: Record<string, string[]> = {
  "03-paillier": ["1000"],
  "05-pi-progress": ["1000000"],
  "06-pi-fraction": ["10000"],
};
const programs = readdirSync(examples).filter(
  (name) => /^\d/.test(name) && existsSync(join(examples, name, "main.ts")),
);

t.ok(programs.length >= 8);
for (const name of programs) {
  const path = join(examples, name, "main.ts");
  t.test(name, async (t) => {
    t.ok(readFileSync(path, "utf8").split("\n").length <= 60, "it is short");
    const { error, stdout, stderr } = await new Promise<{
      error: Error | null;
      stdout: string;
      stderr: string;
    }>((resolve) => {
      execFile(
        process.execPath,
        ["--import", "tsx", path, ...(smaller[name] ?? [])],
        (error, stdout, stderr) => resolve({ error, stdout, stderr }),
      );
    });
    t.equal(error, null, stdout + stderr);
    t.not(stdout, "");
  });
}
