// SPDX-License-Identifier: Apache-2.0
//
// THE layer table: who may import whom. A file may import its own folder and folders with a
// lower number; folders with the same number never meet in code. ts/, native/ and the Python
// bridge meet only in proto/ and through the bindings.

/** A layered source tree: folder name -> layer number. */
export interface Tree {
  /** Where the folders lie. */
  readonly root: string;
  readonly layers: Readonly<Record<string, number>>;
  /** Gives the path that an import names, relative to the tree's root, or null if outside. */
  readonly imports: (path: string, source: string) => readonly Import[];
}

export interface Import {
  readonly line: number;
  /** Path relative to the tree's root; null for what lies outside of every tree. */
  readonly target: string | null;
  readonly spelled: string;
}

const native: Tree = {
  root: "native",
  layers: { base: 0, os: 1, wire: 2, store: 3, raylet: 4, client: 4, node_api: 5, guardian: 5 },
  imports: cIncludes,
};

// The CPython extension includes native headers: the same table with one more folder.
const extension: Tree = {
  root: "python-bridge/ext",
  layers: { ...native.layers, "": 5 },
  imports: cIncludes,
};

const typescript: Tree = {
  root: "ts",
  layers: {
    base: 0,
    native: 1,
    wire: 1,
    object: 2,
    scheduler: 2,
    core: 3,
    gcs: 4,
    node: 4,
    worker: 4,
    runtime: 5,
    inline: 5,
    api: 6,
    lib: 7,
    cli: 8,
    dashboard: 8,
    "": 9,
  },
  imports: tsImports,
};

export const trees: readonly Tree[] = [native, extension, typescript];

/** The findings in one file of a tree (path relative to the tree's root). */
export function layerFindings(tree: Tree, path: string, source: string): string[] {
  const folder = folderOf(path);
  const own = tree.layers[folder];
  if (own === undefined) return [`1: the folder '${folder}' is not in the layer table`];
  const findings: string[] = [];
  for (const { line, target, spelled } of tree.imports(path, source)) {
    if (target === null) {
      findings.push(`${line}: '${spelled}' leaves ${tree.root}/`);
      continue;
    }
    const other = folderOf(target);
    if (other === folder) continue;
    const layer = tree.layers[other];
    if (layer === undefined) findings.push(`${line}: '${spelled}' is in no layer`);
    else if (layer >= own) {
      const relation = layer === own ? "a sibling" : "above";
      findings.push(
        `${line}: '${spelled}': ${other || "the root"} (${layer}) is ${relation} of ${folder || "the root"} (${own})`,
      );
    }
  }
  return findings;
}

const folderOf = (path: string): string => (path.includes("/") ? (path.split("/")[0] ?? "") : "");

// #include "folder/file.h", and "file.h" of the same folder. <...> is not ours.
function cIncludes(path: string, source: string): Import[] {
  const found: Import[] = [];
  source.split("\n").forEach((line, index) => {
    const spelled = /^\s*#\s*include\s+"([^"]+)"/.exec(line)?.[1];
    if (spelled === undefined || /^(third_party|flatbuffers)\//.test(spelled)) return;
    const below = path.split("/").slice(0, -1);
    const target = spelled.includes("/")
      ? spelled.replace(/^native\//, "")
      : [...below, spelled].join("/");
    found.push({
      line: index + 1,
      target: /^gen\//.test(target) ? [...below, target].join("/") : target,
      spelled,
    });
  });
  return found;
}

// import/export ... from "./x.js", import("./x.js"). Package imports are not ours.
function tsImports(path: string, source: string): Import[] {
  const found: Import[] = [];
  const pattern = /(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']*)["']/g;
  for (const match of source.matchAll(pattern)) {
    const spelled = match[1] ?? "";
    const line = source.slice(0, match.index).split("\n").length;
    found.push({ line, target: resolveBelow(path, spelled), spelled });
  }
  return found;
}

function resolveBelow(path: string, spelled: string): string | null {
  const parts = path.split("/").slice(0, -1);
  for (const part of spelled.split("/")) {
    if (part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return null;
  }
  return parts.join("/");
}
