// SPDX-License-Identifier: Apache-2.0
//
// Checks of the tree as a whole: layers, the native source list, one version everywhere, what is
// published, that the commands are described.

import { checkSources } from "../../scripts/lib/sources.mjs";
import { layerFindings, trees } from "./layers.ts";
import { type Check, code, files, text } from "./report.ts";
import {
  exportDocFindings,
  headerFindings,
  machineFindings,
  nameFindings,
  sizeFindings,
  spdxFindings,
  todoFindings,
} from "./text-checks.ts";

const maxLines = 800;
// The checks quote what they forbid.
const quotesTheForbidden = (path: string): boolean => /^test\/(ts\/)?tidy\//.test(path);

const each = (
  paths: readonly string[],
  find: (path: string, source: string) => string[],
): string[] =>
  paths.flatMap((path) => find(path, text(path)).map((finding) => `${path}:${finding}`));

interface PackageJson {
  version: string;
  files: string[];
  gypfile?: boolean;
  scripts: Record<string, string>;
}
const packageJson = (): PackageJson => JSON.parse(text("package.json")) as PackageJson;

function layerCheck(): string[] {
  return trees.flatMap((tree) =>
    code
      .filter((path) => path.startsWith(`${tree.root}/`) && !/\/fuzz\//.test(path))
      .flatMap((path) =>
        layerFindings(tree, path.slice(tree.root.length + 1), text(path)).map(
          (finding) => `${path}:${finding}`,
        ),
      ),
  );
}

function sourcesCheck(): string[] {
  const { missing, unlisted, doubled } = checkSources();
  return [
    ...missing.map((path: string) => `${path}: listed in native/sources.txt but missing`),
    ...unlisted.map((path: string) => `${path}: not in native/sources.txt`),
    ...doubled.map((path: string) => `${path}: twice in native/sources.txt`),
  ];
}

function versionCheck(): string[] {
  const { version } = packageJson();
  const python = /^version = "([^"]+)"/m.exec(text("python-bridge/pyproject.toml"))?.[1];
  return python === version
    ? []
    : [`python-bridge/pyproject.toml: version ${python}, package.json says ${version}`];
}

function publishCheck(): string[] {
  const { files: published, gypfile } = packageJson();
  const findings = ["binding.gyp", "CMakeLists.txt"]
    .filter((name) => published.includes(name))
    .map((name) => `package.json: ${name} must not be published`);
  if (gypfile !== false)
    findings.push('package.json: "gypfile": false is missing: npm would compile at install');
  if (/"resolved"/.test(text("package-lock.json")))
    findings.push("package-lock.json: records download addresses");
  return findings;
}

function commandsCheck(): string[] {
  const pages = ["README.md", "CONTRIBUTING.md"]
    .filter((path) => files.includes(path))
    .map(text)
    .join("\n");
  return Object.keys(packageJson().scripts)
    .filter(
      (name) =>
        !pages.includes(`npm run ${name}`) && !(name === "test" && pages.includes("npm test")),
    )
    .map((name) => `CONTRIBUTING.md: 'npm run ${name}' is not described`);
}

const written = files.filter((path) =>
  /\.(ts|mjs|cjs|py|pyi|cc|h|md|toml|json|txt|sh|cmake|gyp|proto|fbs|yml|yaml)$/.test(path),
);

export const treeChecks: readonly Check[] = [
  { title: "imports respect the layers", run: layerCheck },
  { title: "native/sources.txt lists every source", run: sourcesCheck },
  {
    title: "code carries its licence line",
    run: () => each(code, (_, source) => spdxFindings(source)),
  },
  { title: "code files open with a comment", run: () => each(code, headerFindings) },
  {
    title: `no code file is past ${maxLines} lines`,
    run: () => each(code, (_, source) => sizeFindings(source, maxLines)),
  },
  {
    title: "names say what a thing is",
    run: () =>
      each(
        code.filter((path) => !path.includes("src/polyray/util/")),
        nameFindings,
      ),
  },
  {
    title: "nothing knows the machine it was written on",
    run: () =>
      each(
        written.filter((path) => !quotesTheForbidden(path)),
        (_, source) => machineFindings(source),
      ),
  },
  {
    title: "notes for later name their issue",
    run: () =>
      each(
        code.filter((path) => !quotesTheForbidden(path)),
        (_, source) => todoFindings(source),
      ),
  },
  {
    title: "the public TypeScript API is described",
    run: () =>
      each(
        code.filter((path) => /^ts\/(api\/|index\.ts)/.test(path)),
        (_, source) => exportDocFindings(source),
      ),
  },
  { title: "one version everywhere", run: versionCheck },
  { title: "installs never compile and record no addresses", run: publishCheck },
  { title: "every npm command is described", run: commandsCheck },
];

/** Files that are legal but large, for the report. */
export const largeFiles = (): string[] =>
  code
    .map((path) => [path, text(path).split("\n").length] as const)
    .filter(([, count]) => count > 500)
    .map(([path, count]) => `${path}: ${count} lines`);
