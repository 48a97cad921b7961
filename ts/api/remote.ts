// SPDX-License-Identifier: Apache-2.0
// remote(), pyFunction(), pyActor() and the decorators: from a function or class to its remote form.
// Pure: nothing is sent before the first call.

import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { InvalidOptionError } from "../base/errors.ts";
import { connectionOrNull } from "../core/context.ts";
import { noteMethod } from "../core/methods.ts";
import { checkMethodOptions } from "../core/options.ts";
import { RemoteClassCore } from "../core/remote-class.ts";
import { RemoteFunctionCore } from "../core/remote-function.ts";
import { RemoteSource } from "../core/remote-source.ts";
import type {
  ActorOptions,
  MethodOptions,
  RemoteClass,
  RemoteFunction,
  TaskOptions,
  WithOptions,
} from "../core/types.ts";
import { encode } from "../object/serialize.ts";
import { checkContext } from "./inspect.ts";

type AnyFunction = (...args: never[]) => unknown;
// biome-ignore lint/suspicious/noExplicitAny: the constraint must accept every constructor
type AnyClass = new (...args: any) => any;

function isClass(value: AnyFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

/** A function or class that runs in workers: `const square = remote((x: number) => x * x)`. */
/** A function by file and export: `remote({ file: new URL("./work.ts", import.meta.url), export: "hash" })`. Only workers load it. */
export function remote<A extends unknown[] = unknown[], R = unknown>(
  place: ModuleExport,
  options?: TaskOptions,
): RemoteFunction<A, R>;
export function remote<C extends AnyClass>(Class: C, options?: ActorOptions): RemoteClass<C>;
export function remote<A extends unknown[], R, const O extends TaskOptions>(
  fn: (...args: A) => R,
  options: O,
): WithOptions<A, R, O>;
export function remote<A extends unknown[], R>(
  fn: (...args: A) => R,
  options?: TaskOptions,
): RemoteFunction<A, R>;
export function remote(target: unknown, options: TaskOptions | ActorOptions = {}): unknown {
  if (typeof target === "object" && target !== null && "file" in target)
    return new RemoteFunctionCore(
      moduleSource(target as ModuleExport, "remote"),
      options as TaskOptions,
    );
  if (typeof target !== "function") {
    throw new InvalidOptionError(
      `[invalid option] remote() takes a function, a class, or { file, export }, not ${target === null ? "null" : typeof target}.`,
    );
  }
  const fn = target as AnyFunction;
  const source = new RemoteSource({ kind: "value", fn }, fn.name === "" ? "anonymous" : fn.name);
  return isClass(fn)
    ? new RemoteClassCore(source, options as ActorOptions)
    : new RemoteFunctionCore(source, options as TaskOptions);
}

/** Where a function or class is: a file (path or file: URL) or a package, and the name of the export. */
export interface ModuleExport {
  readonly file: string | URL;
  /** Default: "default". */
  readonly export?: string;
}

/** A relative path counts from the working folder. */
export function moduleSource(place: ModuleExport, where: string): RemoteSource {
  const { file, export: exportName = "default", ...rest } = place;
  const unknown = Object.keys(rest);
  if (unknown.length > 0)
    throw new InvalidOptionError(
      `[invalid option] ${where}({ file, export }) has no "${unknown.join('", "')}": options are the second argument.`,
    );
  for (const text of [file, exportName])
    if ((typeof text !== "string" || text === "") && !(text instanceof URL))
      throw new InvalidOptionError(
        `[invalid option] ${where}({ file, export }) takes a path or URL and the name of an export.`,
      );
  return new RemoteSource(
    { kind: "module", language: "ts", module: moduleOf(file), exportName },
    exportName === "default" ? "anonymous" : exportName,
  );
}

/** A file: URL of a path or URL; packages keep their name. */
export function moduleOf(file: string | URL): string {
  if (file instanceof URL) return file.href;
  const isPath = isAbsolute(file) || /^\.\.?\//.test(file) || /\.[cm]?[jt]sx?$/.test(file);
  return isPath && !/^[a-z]+:/.test(file) ? pathToFileURL(resolve(file)).href : file;
}

/** A class by file and export: the type is stated, `remoteClass<typeof Counter>({ file, export: "Counter" })`. */
export function remoteClass<C extends AnyClass>(
  place: ModuleExport,
  options: ActorOptions = {},
): RemoteClass<C> {
  return new RemoteClassCore(
    moduleSource(place, "remoteClass"),
    options,
  ) as unknown as RemoteClass<C>;
}

function pythonSource(module: string, name: string, what: string): RemoteSource {
  for (const text of [module, name]) {
    if (typeof text !== "string" || text === "")
      throw new InvalidOptionError(
        `[invalid option] ${what}("package.module", "name") takes two non-empty strings.`,
      );
  }
  return new RemoteSource({ kind: "module", language: "py", module, exportName: name }, name);
}

/**
 * A Python function by module and name, run in a Python worker. The driver's folder, PYTHONPATH and the script's folder are
 * on its path. Types are stated: `pyFunction<[Float64Array], number>("pkg.mod", "mean")`.
 */
export function pyFunction<A extends unknown[] = unknown[], R = unknown>(
  module: string,
  name: string,
  options: TaskOptions = {},
): RemoteFunction<A, R> {
  return new RemoteFunctionCore(
    pythonSource(module, name, "pyFunction"),
    options,
  ) as unknown as RemoteFunction<A, R>;
}

/** A Python class by module and name; its methods are stated by an interface: `pyActor<Model>("pkg.model", "Model")`. */
// biome-ignore lint/suspicious/noExplicitAny: without a stated type any method may be called
export function pyActor<T = any, A extends unknown[] = unknown[]>(
  module: string,
  name: string,
  options: ActorOptions = {},
): RemoteClass<new (...args: A) => T> {
  return new RemoteClassCore(
    pythonSource(module, name, "pyActor"),
    options,
  ) as unknown as RemoteClass<new (...args: A) => T>;
}

/** Own options of an actor's method: `@method({ numReturns: 2 })`. */
export function method(
  options: MethodOptions,
): (value: unknown, context: unknown, descriptor?: PropertyDescriptor) => void {
  checkMethodOptions(options, "@method");
  return (value, _context, descriptor) =>
    noteMethod(descriptor === undefined ? value : descriptor.value, options);
}

/** Says that a function is meant to be sent, and checks at once that it can be. Throws UnserializableError naming the variable. */
export function fn<F extends (...args: never[]) => unknown>(target: F): F {
  if (typeof target !== "function")
    throw new InvalidOptionError("[invalid option] fn() takes a function.");
  encode(
    target,
    connectionOrNull()?.store.context ?? checkContext,
    target.name === "" ? "function" : target.name,
  );
  return target;
}
