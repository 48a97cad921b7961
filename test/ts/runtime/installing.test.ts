// SPDX-License-Identifier: Apache-2.0
// Goal: a driver that is killed while pip or npm runs leaves no process of the tool behind, and no half-made environment that
// a later driver would take: that one makes it anew.
// Method: a package whose build waits as long as a file says so (pip), a tool of that name on the PATH (npm); it writes down
// which processes it is.

import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

t.setTimeout(180_000); // many processes start

const driver = fileURLToPath(new URL("./fixtures/installing-driver.ts", import.meta.url));
const python = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
const watchdogMs = 60_000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + watchdogMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`watchdog: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

// A build backend in the package's own folder, as PEP 517 has it.
const backend = `
import base64, hashlib, os, time, zipfile

FOLDER = os.path.dirname(os.path.abspath(__file__))

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open(os.path.join(FOLDER, "pids"), "a") as pids:
        pids.write(f"{os.getpid()} {os.getppid()}\\n")
    while os.path.exists(os.path.join(FOLDER, "hold")):
        time.sleep(0.05)
    name, info = "slow_to_install-1.0-py3-none-any.whl", "slow_to_install-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("slow_to_install.py", "def value():\\n    return 5\\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: slow_to_install\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
`;

interface Tool {
  readonly packages: unknown;
  readonly path?: string;
}

const tools: Record<string, (folder: string) => Tool> = {
  pip: (folder) => {
    writeFileSync(join(folder, "slow_backend.py"), backend);
    writeFileSync(
      join(folder, "pyproject.toml"),
      '[build-system]\nrequires = []\nbuild-backend = "slow_backend"\nbackend-path = ["."]\n',
    );
    return { packages: [folder] };
  },
  npm: (folder) => {
    const bin = join(folder, "bin");
    mkdirSync(bin);
    const lines = [
      "#!/bin/sh",
      `sleep 600 & echo $$ $! >> ${folder}/pids`,
      `if [ -e ${folder}/hold ]; then wait; fi`,
      "kill $!",
      "mkdir -p node_modules",
    ];
    writeFileSync(join(bin, "npm"), `${lines.join("\n")}\n`);
    chmodSync(join(bin, "npm"), 0o755);
    return { packages: { nothing: "file:./nothing" }, path: bin };
  },
};

for (const [tool, make] of Object.entries(tools))
  t.test(`a driver that is killed while ${tool} runs leaves nothing that counts`, async (t) => {
    const scratch = mkdtempSync(join(tmpdir(), "polyray-installing-"));
    t.teardown(() => rmSync(scratch, { recursive: true, force: true }));
    const folder = join(scratch, "slow_to_install");
    mkdirSync(folder);
    const { packages, path } = make(folder);
    const start = (): ChildProcess => {
      const args = ["--import", "tsx", driver, JSON.stringify({ tool, packages })];
      const child = spawn(process.execPath, args, {
        stdio: ["ignore", "pipe", "inherit"],
        env: {
          ...process.env,
          POLYRAY_TMPDIR: scratch,
          POLYRAY_PYTHON: python,
          ...(path === undefined ? {} : { PATH: `${path}:${process.env.PATH}` }),
        },
      });
      t.teardown(() => child.kill("SIGKILL"));
      return child;
    };
    const pids = (): number[] =>
      existsSync(join(folder, "pids"))
        ? (readFileSync(join(folder, "pids"), "utf8").match(/\d+/g) ?? []).map(Number)
        : [];

    writeFileSync(join(folder, "hold"), "");
    const first = start();
    await until(() => pids().length === 2, `${tool} runs`);
    const killed = pids();
    for (const pid of killed) t.ok(isAlive(pid), `process ${pid} lives before the kill`);
    first.kill("SIGKILL");
    await until(() => !killed.some(isAlive), `${tool} was ended with its driver`);

    rmSync(join(folder, "hold"));
    const second = start();
    let out = "";
    second.stdout?.on("data", (bytes: Buffer) => {
      out += bytes.toString();
    });
    const code = await new Promise((resolve) => second.once("close", resolve));
    t.equal(code, 0);
    t.equal(out, "5\n", "the environment was made anew");
    t.ok(pids().length > killed.length);
  });
