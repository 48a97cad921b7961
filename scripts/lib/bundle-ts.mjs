// SPDX-License-Identifier: Apache-2.0
//
// Bundles ts/ into few files of dist/: a process that starts reads four files instead of two hundred. What entries share
// lies in dist/chunks/, once, so that every module is one instance however it is reached. Declarations stay one per
// module (tsc writes them). Packages that come along are named, with their licences, in dist/THIRD-PARTY-NOTICES.txt.

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { at, distDir, root } from "./paths.mjs";
import { filesBelow } from "./stamp.mjs";

/** Files of dist/ that are named from outside of it or started by name; relative to ts/, without the extension. */
const entries = ["index", "worker/main", "runtime/service-thread", "cli/main", "cli/embedded"];

/** Needed by nearly every process and small. gRPC, the command line and apache-arrow are loaded only where they are used. */
const bundled = ["@msgpack/msgpack", "flatbuffers"];

/**
 * Dear to load (crypto 7 ms, acorn 200 KB) and not needed by every process: each of their functions loads the module when it
 * is called. An import of one of Node's would also read every property, which loads what those stand for.
 */
const late = [
  "node:child_process",
  "node:crypto",
  "node:readline",
  "node:v8",
  "node:zlib",
  "acorn",
];

/** Writes the JavaScript of dist/. Throws when the sources do not bundle. */
export async function bundleTs() {
  const { build } = await import("esbuild"); // this file is loaded before npm ci has run
  const outputs = await build({
    absWorkingDir: root,
    entryPoints: entries.map((name) => at("ts", `${name}.ts`)),
    outbase: at("ts"),
    outdir: distDir,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    chunkNames: "chunks/[name]-[hash]",
    sourcemap: true,
    sourcesContent: true,
    legalComments: "none",
    minifyWhitespace: true, // a process that starts decodes and scans half as much; names stay
    lineLimit: 160,
    metafile: true,
    write: true,
    logLevel: "error",
    plugins: [
      { name: "late-modules", setup: loadLate },
      { name: "only-these-packages", setup: keepPackagesOutside },
    ],
  });
  removeOthers(new Set(Object.keys(outputs.metafile.outputs).map((path) => at(path))));
  writeNotices();
}

// Only functions can be late: whoever needs a class or a constant of these modules gets an error from the bundler.
function loadLate(plugin) {
  plugin.onResolve({ filter: new RegExp(`^(${late.join("|")})$`) }, ({ path, importer }) =>
    importer.includes("/node_modules/")
      ? undefined
      : { path, namespace: "late", sideEffects: false },
  );
  plugin.onLoad({ filter: /.*/, namespace: "late" }, async ({ path }) => {
    const names = Object.entries(await import(path))
      .filter(
        ([name, value]) => typeof value === "function" && /^[a-z]/.test(name) && name !== "default",
      )
      .map(([name]) => `export const ${name} = (...args) => load().${name}(...args);`);
    const load = path.startsWith("node:")
      ? [`const load = () => process.getBuiltinModule("${path}");`]
      : [
          'import { createRequire } from "node:module";',
          "let loaded = null;",
          `const load = () => (loaded ??= createRequire(import.meta.url)("${path}"));`,
        ];
    return { contents: [...load, ...names].join("\n"), resolveDir: root };
  });
}

function keepPackagesOutside(plugin) {
  plugin.onResolve({ filter: /^[^./]/ }, ({ path, kind, importer }) => {
    if (kind === "entry-point" || importer.includes("/node_modules/")) return undefined;
    return bundled.includes(path) ? undefined : { path, external: true };
  });
}

// Output of an earlier build would still be imported.
function removeOthers(written) {
  for (const path of filesBelow(distDir, (file) => /\.js(\.map)?$/.test(file)))
    if (!written.has(path)) rmSync(path);
}

function writeNotices() {
  const texts = bundled.map((name) => {
    const folder = at("node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = existsSync(folder)
      ? readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
      : undefined;
    if (file === undefined) throw new Error(`${name} has no licence file`);
    return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  writeFileSync(
    join(distDir, "THIRD-PARTY-NOTICES.txt"),
    `Packages that are part of the files in this folder.\n\n${texts.join(`\n${"-".repeat(72)}\n\n`)}`,
  );
}
