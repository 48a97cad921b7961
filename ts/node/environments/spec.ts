// SPDX-License-Identifier: Apache-2.0
// A runtime environment as it travels in the worker key: Ray's field names for what both languages know, `node` for the
// rest. Variables travel beside it (envVars of the key). Pure data.

import type { RuntimeEnvOptions } from "../../core/types.ts";

export interface PipSpec {
  readonly packages: readonly string[];
  readonly pip_check?: boolean;
  readonly pip_version?: string;
  readonly pip_install_options?: readonly string[];
}

export interface UvSpec {
  readonly packages: readonly string[];
  readonly uv_check?: boolean;
  readonly uv_version?: string;
  readonly uv_pip_install_options?: readonly string[];
}

/** What `node` may say: as the user wrote it, with absolute paths. */
export type NodeSpec = NonNullable<RuntimeEnvOptions["node"]>;

export interface EnvironmentSpec {
  /** A package URI (packages.ts), or a path of this machine. */
  readonly working_dir?: string;
  readonly excludes?: readonly string[];
  readonly py_modules?: readonly string[];
  readonly pip?: PipSpec;
  readonly uv?: UvSpec;
  readonly py_executable?: string;
  readonly conda?: unknown;
  readonly container?: unknown;
  readonly image_uri?: string;
  readonly config?: { readonly setup_timeout_seconds?: number; readonly eager_install?: boolean };
  readonly node?: NodeSpec;
  readonly [field: string]: unknown;
}

/** What a worker is started with, made from a spec. */
export interface Prepared {
  /** Null: the driver's. */
  readonly cwd: string | null;
  /** Folders in front of sys.path. */
  readonly sysPath: readonly string[];
  /** Interpreter with leading arguments; null: the one that findPython names. */
  readonly python: readonly string[] | null;
  /** Folder with node_modules for imports of tasks; null: none. */
  readonly nodeModules: string | null;
  readonly node: NodeSpec;
}

/** What a worker without an environment of its own is started with. */
export const nothingPrepared: Prepared = {
  cwd: null,
  sysPath: [],
  python: null,
  nodeModules: null,
  node: {},
};
