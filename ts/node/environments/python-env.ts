// SPDX-License-Identifier: Apache-2.0
// Virtual environments for pip and uv requirement lists: one folder per content hash, on top of the packages that the
// base interpreter has (polyray among them), which a .pth file adds at the end of its path.

import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RuntimeEnvSetupError } from "../../base/errors.ts";
import type { EnvironmentCache } from "./cache.ts";
import type { Commands } from "./commands.ts";
import type { PipSpec, UvSpec } from "./spec.ts";

export interface PythonEnvRequest {
  readonly tool: "pip" | "uv";
  readonly wanted: PipSpec & UvSpec;
  readonly basePython: string;
  /** Where relative paths of requirements start. */
  readonly cwd: string;
  readonly timeoutMs: number;
}

interface Tools {
  readonly cache: EnvironmentCache;
  readonly commands: Commands;
  readonly say: (line: string) => void;
}

const describeProgram = `
import json, site, sys, sysconfig
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "prefix": sys.prefix,
  "sites": site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
  "pip": __import__("importlib.util").util.find_spec("pip") is not None,
  "uv": __import__("importlib.util").util.find_spec("uv") is not None}))
`;

interface Base {
  readonly version: string;
  readonly prefix: string;
  readonly sites: readonly string[];
  readonly pip: boolean;
  readonly uv: boolean;
}

// Offline must be told quickly: one more try is enough. What the user set holds.
function network(): Record<string, string> {
  return {
    PIP_RETRIES: process.env.PIP_RETRIES ?? "1",
    PIP_NO_INPUT: "1",
    UV_HTTP_TIMEOUT: process.env.UV_HTTP_TIMEOUT ?? "15",
  };
}

/** The interpreter of the environment, made when it is not there yet. */
export async function pythonEnvironment(request: PythonEnvRequest, tools: Tools): Promise<string> {
  const { tool, wanted, basePython, cwd } = request;
  const run = (step: string, ...argv: readonly string[]): Promise<string> =>
    tools.commands.run({ step, argv, cwd, env: network(), timeoutMs: request.timeoutMs });
  const said = await run(
    "asking the base Python for its packages",
    basePython,
    "-c",
    describeProgram,
  );
  const base = JSON.parse(said.trim().split("\n").at(-1) ?? "{}") as Base;
  const hash = createHash("sha256")
    .update(JSON.stringify([tool, wanted, basePython, base.prefix, base.version, base.sites]))
    .digest("hex")
    .slice(0, 16);
  const names = wanted.packages.join(", ");
  const started = Date.now();
  let made = false;
  const folder = await tools.cache.folder(`${tool}-${hash}`, async (at) => {
    made = true;
    tools.say(`runtime env: installing ${names} with ${tool} (Python ${base.version}) ...`);
    await run("making a virtual environment", basePython, "-m", "venv", "--without-pip", at);
    const lines = base.sites.map((path) => `import site; site.addsitedir(${JSON.stringify(path)})`);
    const own = join(at, "lib", `python${base.version}`, "site-packages");
    writeFileSync(join(own, "zz_polyray_base.pth"), `${lines.join("\n")}\n`);
    const requirements = join(at, "requirements.txt");
    writeFileSync(requirements, `${wanted.packages.join("\n")}\n`);
    const python = join(at, "bin", "python");
    if (tool === "uv") await installWithUv(base, request, python, requirements, run);
    else await installWithPip(base, request, python, requirements, run);
  });
  if (made)
    tools.say(`runtime env: ${names} ready (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  return join(folder, "bin", "python");
}

type Run = (step: string, ...argv: readonly string[]) => Promise<string>;

async function installWithPip(
  base: Base,
  { wanted, basePython }: PythonEnvRequest,
  python: string,
  requirements: string,
  run: Run,
): Promise<void> {
  if (!base.pip) {
    throw new RuntimeEnvSetupError(
      `[runtime env] Failed to set up runtime environment: pip install failed: ${basePython} has no pip. Install it there (\`${basePython} -m ensurepip\`), or use uv.`,
    );
  }
  let pip: readonly string[] = [basePython, "-m", "pip", "--python", python];
  if (wanted.pip_version !== undefined) {
    await run("installing pip itself", ...pip, "install", "-I", `pip${wanted.pip_version}`);
    pip = [python, "-m", "pip"];
  }
  const options = wanted.pip_install_options ?? ["--disable-pip-version-check", "--no-cache-dir"];
  await run("pip install", ...pip, "install", ...options, "-r", requirements);
  if (wanted.pip_check === true) await run("pip check", ...pip, "check");
}

async function installWithUv(
  base: Base,
  { wanted, basePython }: PythonEnvRequest,
  python: string,
  requirements: string,
  run: Run,
): Promise<void> {
  let uv: readonly string[] | null = null;
  if (wanted.uv_version === undefined) {
    if (base.uv) uv = [basePython, "-m", "uv"];
    else if (onPath("uv")) uv = ["uv"];
  }
  if (uv === null) {
    const version = `uv${wanted.uv_version ?? ""}`;
    const pip = [basePython, "-m", "pip", "--python", python, "install", version];
    await run("installing uv itself", ...pip);
    uv = [python, "-m", "uv"];
  }
  const options = wanted.uv_pip_install_options ?? ["--no-cache"];
  const target = ["--python", python];
  await run("uv pip install", ...uv, "pip", "install", ...target, ...options, "-r", requirements);
  if (wanted.uv_check === true) await run("uv pip check", ...uv, "pip", "check", ...target);
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? "").split(":").some((folder) => existsSync(join(folder, program)));
}
