// SPDX-License-Identifier: Apache-2.0
// Options of one call that travel beside its keyword arguments, under a name of our own (Python: polyray/handle.py). A call
// that has some says so by CallFlag.hasOptions; the worker takes them out before the body runs.

/** What travels with a traced call: `traceparent`, and what else the program's propagator writes. */
export type Carrier = Record<string, string>;

/** The name. */
export const callOptionsName = "__polyray_call__";

/** What TypeScript sends and understands. */
export interface CallOptions {
  readonly trace?: Carrier;
}

/** The trace of the call that is being submitted: its submission takes it. */
export const outgoing: { trace: Carrier | null } = { trace: null };

/** Takes it; null: the call is not traced. */
export function takeTrace(): Carrier | null {
  const { trace } = outgoing;
  if (trace !== null) outgoing.trace = null;
  return trace;
}

/** Keyword arguments with options beside them. */
export function withOptions(
  named: Readonly<Record<string, unknown>> | null,
  options: CallOptions,
): Record<string, unknown> {
  return { ...named, [callOptionsName]: options };
}

/** Splits the options off; `kwargs` is null when nothing else is there. */
export function splitOptions(given: Record<string, unknown>): {
  options: CallOptions | null;
  kwargs: Record<string, unknown> | null;
} {
  if (!(callOptionsName in given)) return { options: null, kwargs: given };
  const { [callOptionsName]: options, ...kwargs } = given;
  return {
    options: options as CallOptions,
    kwargs: Object.keys(kwargs).length === 0 ? null : kwargs,
  };
}
