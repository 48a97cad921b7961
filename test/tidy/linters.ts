// SPDX-License-Identifier: Apache-2.0
//
// The formatters and linters of the three languages as checks: Biome, tsc, ruff, mypy,
// clang-format. All come from node_modules and .venv; `npm run format` mends what can be mended.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { at, nodeBin, root, venvBin } from "../../scripts/lib/paths.mjs";
import { type Check, code } from "./report.ts";

interface Output {
  readonly code: number;
  readonly lines: string[];
}

function collect(program: string, args: readonly string[]): Promise<Output> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (chunk: string) => {
        output += chunk;
      });
    }
    child.on("error", reject);
    child.on("close", (exitCode) =>
      resolve({
        code: exitCode ?? 1,
        lines: output.split("\n").filter((line) => line.trim() !== ""),
      }),
    );
  });
}

// A linter's findings are its output when it fails; a missing program skips the check.
function linter(
  title: string,
  program: string,
  args: (paths: string[]) => string[],
  endings: RegExp,
): Check {
  return {
    title,
    run: async () => {
      const paths = code.filter((path) => endings.test(path));
      if (paths.length === 0) return [];
      if (!existsSync(program)) return null;
      const result = await collect(program, args(paths));
      return result.code === 0 ? [] : result.lines;
    },
  };
}

const biome = nodeBin("biome");
const ruff = `${venvBin}/ruff`;
const pyproject = at("python-bridge", "pyproject.toml");
const quietBiome = [
  "--no-errors-on-unmatched",
  "--reporter=github",
  "--max-diagnostics=200",
  "--diagnostic-level=error",
];
const ruffConfig = ["--config", pyproject, "--cache-dir", at("build", "ruff")];

const generators = ["gen-errors", "gen-limits", "gen-flatbuffers"];

async function generatedFindings(): Promise<string[]> {
  const findings: string[] = [];
  for (const name of generators) {
    const script = at("scripts", `${name}.mjs`);
    const result = await collect(process.execPath, [script, "--check"]);
    if (result.code !== 0)
      findings.push(...result.lines.map((line) => `scripts/${name}.mjs: ${line}`));
  }
  return findings;
}

export const linterChecks: readonly Check[] = [
  { title: "generated files are up to date", run: generatedFindings },
  linter(
    "Biome finds nothing to mend",
    biome,
    (paths) => ["lint", ...quietBiome, ...paths],
    /\.(ts|mjs)$/,
  ),
  linter(
    "TypeScript and scripts are formatted",
    biome,
    (paths) => ["format", ...quietBiome, ...paths],
    /\.(ts|mjs)$/,
  ),
  linter(
    "the whole tree type-checks (tsc)",
    nodeBin("tsc"),
    () => ["-p", "tsconfig.json", "--pretty", "false"],
    /\.ts$/,
  ),
  linter(
    "ruff finds nothing to mend",
    ruff,
    (paths) => ["check", "-q", "--output-format=concise", ...ruffConfig, ...paths],
    /\.pyi?$/,
  ),
  linter(
    "Python is formatted",
    ruff,
    (paths) => ["format", "--check", "-q", ...ruffConfig, ...paths],
    /\.pyi?$/,
  ),
  linter(
    "the Python package type-checks (mypy)",
    `${venvBin}/mypy`,
    () => [
      "--config-file",
      pyproject,
      "--cache-dir",
      at("build", "mypy"),
      "--no-error-summary",
      at("python-bridge", "src", "polyray"),
    ],
    /^python-bridge\/src\/.*\.pyi?$/,
  ),
  linter(
    "C++ is formatted",
    `${venvBin}/clang-format`,
    (paths) => ["--dry-run", "-Werror", "--ferror-limit=1", ...paths],
    /\.(cc|h)$/,
  ),
];
