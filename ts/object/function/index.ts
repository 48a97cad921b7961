// SPDX-License-Identifier: Apache-2.0
// Function shipping: the names other folders use. See docs/functions.md.

export { type DescribeOptions, describeFunction } from "./capture.ts";
export type {
  Capture,
  FunctionDescriptor,
  ModuleFunction,
  ModuleRef,
  ValueFunction,
} from "./descriptor.ts";
export { workerEnvironment, workerExecArgv, workerNodeOptions } from "./exec-args.ts";
export { type ImportModule, importModule, loadModules } from "./loader.ts";
export { ModulesPending, modulesOf, reviveFunction, reviveFunctionNow } from "./revive.ts";
export { fromWire, toWire, type WireFunction } from "./wire.ts";
