// SPDX-License-Identifier: Apache-2.0
/**
 * Chooses which of the driver's Node options a worker starts with. Pure.
 *
 * An allow-list: loaders, conditions, source maps, heap and stack sizes, type stripping. Everything
 * else stays behind, above all what would run, watch, test, inspect or profile a second program.
 */

/** Options with a value that a worker takes over. */
const takenWithValue = [
  "--import",
  "--require",
  "-r",
  "--loader",
  "--experimental-loader",
  "--conditions",
  "-C",
  "--max-old-space-size",
  "--max-semi-space-size",
  "--min-semi-space-size",
  "--max-old-space-size-percentage",
  "--stack-size",
  "--experimental-specifier-resolution",
  "--disable-warning",
];

/** Options that take a value, and their short forms. */
const withValue = new Set([
  ...takenWithValue,
  "--input-type",
  "--unhandled-rejections",
  "--dns-result-order",
  "--icu-data-dir",
  "--env-file",
  "--env-file-if-exists",
  "--tls-min-v1.2",
  "--use-largepages",
  "--title",
  "--eval",
  "-e",
  "--print",
  "-p",
  "-pe",
  "--inspect-port",
  "--debug-port",
  "--test-name-pattern",
  "--test-skip-pattern",
  "--test-reporter",
  "--test-reporter-destination",
  "--test-shard",
  "--test-timeout",
  "--test-concurrency",
  "--test-coverage-include",
  "--test-coverage-exclude",
  "--test-global-setup",
  "--test-isolation",
  "--watch-path",
  "--diagnostic-dir",
  "--cpu-prof-dir",
  "--cpu-prof-name",
  "--cpu-prof-interval",
  "--heap-prof-dir",
  "--heap-prof-name",
  "--heap-prof-interval",
  "--redirect-warnings",
  "--report-dir",
  "--report-directory",
  "--report-filename",
  "--trace-event-categories",
  "--trace-event-file-pattern",
  "--openssl-config",
  "--secure-heap",
  "--secure-heap-min",
  "--localstorage-file",
  "--build-snapshot-config",
  "--experimental-sea-config",
  "--run",
]);

/** What a worker takes over. */
const allowed = new Set([
  ...takenWithValue,
  "--enable-source-maps",
  "--experimental-strip-types",
  "--no-experimental-strip-types",
  "--strip-types",
  "--no-strip-types",
  "--experimental-transform-types",
  "--preserve-symlinks",
  "--experimental-vm-modules",
  "--experimental-require-module",
  "--no-experimental-require-module",
  "--experimental-detect-module",
  "--no-experimental-detect-module",
  "--experimental-import-meta-resolve",
  "--experimental-wasm-modules",
  "--experimental-default-type",
  "--experimental-sqlite",
  "--no-experimental-sqlite",
  "--no-warnings",
  "--no-deprecation",
  "--expose-gc",
  "--stack-trace-limit",
  "--jitless",
  "--openssl-legacy-provider",
  "--no-experimental-fetch",
  "--no-addons",
]);

/** Options whose value follows even when it is not joined by `=`. */
function takesValue(name: string): boolean {
  return withValue.has(name);
}

/** V8 spells its options with `_` or `-`. */
function normalName(argument: string): string {
  const equals = argument.indexOf("=");
  const name = equals === -1 ? argument : argument.slice(0, equals);
  return name.startsWith("--") ? name.replaceAll("_", "-") : name;
}

/** The allowed ones of Node's arguments, in their order and spelling. */
export function allowedNodeOptions(args: readonly string[]): string[] {
  const kept: string[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const argument = args[index] ?? "";
    const name = normalName(argument);
    const next = args[index + 1];
    const hasNext = takesValue(name) && !argument.includes("=") && next !== undefined;
    if (allowed.has(name)) kept.push(argument, ...(hasNext ? [next] : []));
    if (hasNext) index += 1;
  }
  return kept;
}

/** `execArgv` of a worker, from the driver's. */
export function workerExecArgv(execArgv: readonly string[]): string[] {
  return allowedNodeOptions(execArgv);
}

/** `NODE_OPTIONS` of a worker: the allowed ones of the driver's, or undefined when none is left. */
export function workerNodeOptions(nodeOptions: string | undefined): string | undefined {
  if (nodeOptions === undefined) return undefined;
  const kept = allowedNodeOptions(splitOptions(nodeOptions));
  return kept.length === 0 ? undefined : kept.map(quoteOption).join(" ");
}

/** The environment of a worker as to Node's own variables; others are passed through. */
export function workerEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, NODE_V8_COVERAGE: _coverage, NODE_CHANNEL_FD: _channel, ...rest } = env;
  const options = workerNodeOptions(NODE_OPTIONS);
  const {
    NODE_UNIQUE_ID: _cluster,
    NODE_TEST_CONTEXT: _test,
    WATCH_REPORT_DEPENDENCIES: _watch,
    ...kept
  } = rest;
  return options === undefined ? kept : { ...kept, NODE_OPTIONS: options };
}

/** Splits as Node does: blanks part, double quotes hold together, a backslash escapes inside them. */
function splitOptions(text: string): string[] {
  const options: string[] = [];
  let current = "";
  let quoted = false;
  let started = false;
  for (let index = 0; index < text.length; index += 1) {
    const char = text[index] ?? "";
    if (char === '"') {
      quoted = !quoted;
      started = true;
    } else if (char === "\\" && quoted && index + 1 < text.length) {
      index += 1;
      current += text[index] ?? "";
    } else if (char === " " && !quoted) {
      if (started) options.push(current);
      current = "";
      started = false;
    } else {
      current += char;
      started = true;
    }
  }
  if (started) options.push(current);
  return options;
}

function quoteOption(option: string): string {
  if (!/[ "\\]/.test(option)) return option;
  return `"${option.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
