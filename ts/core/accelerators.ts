// SPDX-License-Identifier: Apache-2.0
// What a call's amounts mean inside its worker: the numbers of its GPUs, the variable that shows them to libraries and to
// programs that it starts, and the number of threads of numeric libraries. As in Python (accelerators.py).
//
// Variables for threads that the user set are left alone; CUDA_VISIBLE_DEVICES of the node names the devices when it was
// set. A worker without GPUs keeps the variable as it found it. State of the process: one call's amounts hold at a time.

import type { NativeBinding } from "../native/binding.ts";

const visible = "CUDA_VISIBLE_DEVICES";
const threads = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] as const;
const maxDevices = 64;

type Amounts = Readonly<Record<string, number>>;

let isOn = false;
let entered: Amounts | null = null;
let ids: readonly string[] = [];
let found: { readonly visible: string | undefined; readonly threads: readonly string[] } | null =
  null;

/** This process is a worker: its variables may be set. (The inline mode runs in the user's own process.) */
export function ownVariables(): void {
  isOn = true;
}

/** Sets the variables for a call of these amounts; called before user code. */
export function enterAmounts(native: NativeBinding, amounts: Amounts): void {
  if (!isOn || (amounts === entered && amounts.GPU === undefined)) return;
  found ??= {
    visible: process.env[visible],
    threads: threads.filter((name) => process.env[name] === undefined),
  };
  const cpus = String(Math.max(1, Math.floor(amounts.CPU ?? 1)));
  for (const name of found.threads) if (process.env[name] !== cpus) process.env[name] = cpus;
  ids = (amounts.GPU ?? 0) > 0 ? namesOf(native.devices(), found.visible) : [];
  if (ids.length > 0) process.env[visible] = ids.join(",");
  else if (found.visible === undefined) delete process.env[visible];
  else process.env[visible] = found.visible;
  entered = amounts;
}

function namesOf(mask: bigint, names: string | undefined): string[] {
  const named = (names ?? "").split(",").filter((one) => one.trim() !== "");
  const all = Array.from({ length: maxDevices }, (_, number) => number);
  return all
    .filter((number) => ((mask >> BigInt(number)) & 1n) === 1n)
    .map((number) => named[number] ?? String(number));
}

/** The GPUs of the running task or actor: numbers, or names where the node has them named; none in a driver. */
export function gpuIds(): (number | string)[] {
  return ids.map((one) => (/^\d+$/.test(one) ? Number(one) : one));
}
