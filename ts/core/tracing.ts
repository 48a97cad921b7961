// SPDX-License-Identifier: Apache-2.0
// OpenTelemetry: a span around each submission and each run of a call, joined by the W3C trace context that travels with
// the call (docs/design/0003-tracing.md). Off, nothing of this runs: submitting sees no interceptor, a call no options.
//
// Owns: whether tracing is on in this environment. Only the API package is used, and loaded only here; spans go where the
// program's SDK sends them. Invariants: (1) a span ends once, however its call ends; (2) what the body threw is what the caller
// gets; (3) a body's promise or thenable is asked for its value once.

import { AsyncLocalStorage } from "node:async_hooks";
import { InvalidOptionError } from "../base/errors.ts";
import { findPackage } from "../base/program-places.ts";
import { version } from "../base/version.ts";
import { type Carrier, outgoing } from "./call-options.ts";
import { isRecord } from "./checks.ts";
import type { Connection } from "./connection.ts";
import { connectionOrNull } from "./context.ts";
import { type InterceptedCall, submitting } from "./interceptors.ts";
import { taskContext } from "./task-context.ts";
import { importUser } from "./user-module.ts";

/** The parts of @opentelemetry/api that are used here. */
interface OpenTelemetry {
  readonly trace: {
    getTracer(name: string, version?: string): Tracer;
    getTracerProvider(): unknown;
    setSpan(context: Context, span: Span): Context;
    getSpanContext(context: Context): SpanContext | undefined;
    setSpanContext(context: Context, span: SpanContext): Context;
  };
  readonly context: {
    active(): Context;
    with<T>(context: Context, fn: () => T): T;
  };
  readonly propagation: {
    inject(context: Context, carrier: Carrier): void;
    extract(context: Context, carrier: Carrier): Context;
  };
  readonly ROOT_CONTEXT: Context;
  createTraceState(text: string): unknown;
}

type Context = object;

interface Tracer {
  startSpan(name: string, options: object, context: Context): Span;
}

interface Span {
  setAttribute(name: string, value: string): unknown;
  recordException(error: unknown): void;
  setStatus(status: { code: number; message?: string }): unknown;
  end(): void;
}

interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
  readonly isRemote?: boolean;
  readonly traceState?: { serialize(): string } | undefined;
}

/** Options of `init({ tracing })`. */
export interface TracingOptions {
  /** "module#export": sets the SDK up, in this process and in each TypeScript worker before its first call. */
  readonly setup?: string;
  /** "module:function": the same in each Python worker. */
  readonly pythonSetup?: string;
}

/** The variable that tells workers, and drivers without the option: "1", or the options as JSON. */
export const tracingVariable = "POLYRAY_TRACING";

const producer = 3;
const consumer = 4;
const failed = 2;

/** What is wrong with the option; null when nothing is. */
export function tracingError(value: unknown): string | null {
  if (typeof value === "boolean") return null;
  const wanted = 'true, false or { setup: "module#export", pythonSetup: "module:function" }';
  if (!isRecord(value)) return wanted;
  for (const [name, one] of Object.entries(value)) {
    const mark = name === "setup" ? "#" : name === "pythonSetup" ? ":" : null;
    if (one === undefined && mark !== null) continue;
    const at = mark === null || typeof one !== "string" ? -1 : one.lastIndexOf(mark);
    if (at < 1 || at === (one as string).length - 1)
      return `${wanted} (${name} is ${JSON.stringify(one)})`;
  }
  return null;
}

/** What was asked for by the option or else by the variable; null: no tracing. */
export function tracingAsked(option: boolean | TracingOptions | undefined): TracingOptions | null {
  if (option !== undefined) return option === false ? null : option === true ? {} : option;
  const text = process.env[tracingVariable] ?? "";
  if (text === "" || text === "0" || text === "false") return null;
  if (!text.startsWith("{")) return {};
  let asked: unknown = null;
  try {
    asked = JSON.parse(text);
  } catch {}
  const wrong = tracingError(asked);
  if (wrong !== null)
    throw new InvalidOptionError(
      `[invalid option] ${tracingVariable} must be 1 or, as JSON, ${wrong}.`,
    );
  return asked as TracingOptions;
}

/** The variables that carry it to workers. `refused`: the program said no. */
export function tracingVariables(
  asked: TracingOptions | null,
  refused = false,
): Record<string, string> {
  if (asked === null)
    return refused || process.env[tracingVariable] ? { [tracingVariable]: "0" } : {};
  const text = JSON.stringify(asked);
  return { [tracingVariable]: text === "{}" ? "1" : text };
}

/** Whether a program that asks for this asks for spans of TypeScript. */
export function asksHere({ setup, pythonSetup }: TracingOptions): boolean {
  return setup !== undefined || pythonSetup === undefined;
}

/** Set-ups of this environment: an SDK can be set up once. */
const setUps = new Map<string, Promise<void>>();
const setUpsDone = new Set<string>();

/** Whether the set-up that was asked for has yet to run. */
export function needsSetUp({ setup }: TracingOptions): boolean {
  return setup !== undefined && !setUpsDone.has(setup);
}

/** Runs the set-up that was asked for, once. Throws InvalidOptionError when the API is not installed. */
export function setUpTracing({ setup }: TracingOptions): Promise<void> {
  openTelemetry();
  if (setup === undefined) return Promise.resolve();
  let running = setUps.get(setup);
  if (running === undefined) {
    running = runSetUp(setup);
    setUps.set(setup, running);
    running.catch(() => setUps.delete(setup));
  }
  return running;
}

async function runSetUp(setup: string): Promise<void> {
  const at = setup.lastIndexOf("#");
  const found = (await importUser(setup.slice(0, at))) as Record<string, unknown>;
  const run = found[setup.slice(at + 1)];
  if (typeof run !== "function")
    throw new InvalidOptionError(
      `[invalid option] tracing: ${setup.slice(0, at)} has no function "${setup.slice(at + 1)}".`,
    );
  await run();
  setUpsDone.add(setup);
}

/** Tracing of this environment; `on` is null while it is off. */
export const tracing: { on: Tracing | null } = { on: null };

/** The package that makes spans; optional. */
const apiPackage = "@opentelemetry/api";

/** Whether the program has the API package. */
export function canTrace(): boolean {
  return findPackage(apiPackage) !== null;
}

/** The API package of the program. Throws InvalidOptionError when it is not installed. */
function openTelemetry(): OpenTelemetry {
  const found = findPackage(apiPackage);
  if (found === null)
    throw new InvalidOptionError(
      `[invalid option] tracing needs the package ${apiPackage}, which is not installed here. Install it: npm install ${apiPackage}`,
    );
  return found.require(found.file) as OpenTelemetry;
}

/** Turns tracing on. Throws as openTelemetry. */
export function startTracing(): void {
  turnOn(() => new Spans(openTelemetry()));
}

/** Gives the trace of a call on to the calls that it makes; makes no spans and needs no package. */
export function passTraces(): void {
  turnOn(() => new PassedOn());
}

function turnOn(make: () => Tracing): void {
  if (tracing.on !== null) return;
  const on = make();
  tracing.on = on;
  on.stop = submitting.add((call, next) => on.submit(call, () => next(call)));
}

/** Turns it off. */
export function stopTracing(): void {
  tracing.on?.stop();
  tracing.on = null;
}

/** What the constructor of an actor is called in the names of spans. */
export function constructorName(language: "ts" | "py"): string {
  return language === "py" ? "__init__" : "constructor";
}

/** What a span is told of its call. */
export interface TracedCall {
  readonly kind: InterceptedCall["kind"];
  /** Name of the function, or `Class.method`. */
  readonly name: string;
  readonly actorId?: string | null;
  /** Of the call that runs. Default: that of the one that submits. */
  readonly taskId?: string;
}

export interface Tracing {
  stop: () => void;
  /** Runs a submission; the call takes the trace along. */
  submit<T>(call: TracedCall, run: () => T): T;
  /** The run of a call that begins here. */
  open(call: TracedCall, carrier: Carrier): Execution;
  /** Sends what the SDK still holds, when it can be asked. */
  flush(): Promise<void>;
}

/** Of an environment without the API. */
class PassedOn implements Tracing {
  readonly #kept = new AsyncLocalStorage<Carrier>();
  stop: () => void = () => undefined;

  submit<T>(_call: TracedCall, run: () => T): T {
    const outer = outgoing.trace;
    outgoing.trace = this.#kept.getStore() ?? null;
    try {
      return run();
    } finally {
      outgoing.trace = outer;
    }
  }

  open(_call: TracedCall, carrier: Carrier): Execution {
    return new Execution(null, (run) => this.#kept.run(carrier, run));
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }
}

/** Spans by the API. */
class Spans implements Tracing {
  readonly #api: OpenTelemetry;
  readonly #tracer: Tracer;
  /** The context of what runs, for programs whose SDK (or none) keeps none. */
  readonly #kept = new AsyncLocalStorage<Context>();
  stop: () => void = () => undefined;

  constructor(api: OpenTelemetry) {
    this.#api = api;
    this.#tracer = api.trace.getTracer("polyray", version);
  }

  submit<T>(call: TracedCall, run: () => T): T {
    const parent = this.#active();
    const span = this.#start(call, "ray.remote", producer, parent);
    const context = this.#api.trace.setSpan(parent, span);
    const outer = outgoing.trace;
    outgoing.trace = this.#carrierOf(context);
    try {
      return this.#within(context, run);
    } catch (error) {
      fail(span, error);
      throw error;
    } finally {
      outgoing.trace = outer;
      span.end();
    }
  }

  open(call: TracedCall, carrier: Carrier): Execution {
    const parent = this.#parentOf(carrier);
    const span = this.#start(call, "ray.remote_worker", consumer, parent);
    const context = this.#api.trace.setSpan(parent, span);
    return new Execution(span, (run) => this.#within(context, run));
  }

  async flush(): Promise<void> {
    const provider = this.#api.trace.getTracerProvider() as Flushes & { getDelegate?(): Flushes };
    const real = provider.getDelegate?.() ?? provider;
    await real.forceFlush?.();
  }

  #within<T>(context: Context, run: () => T): T {
    return this.#kept.run(context, () => this.#api.context.with(context, run));
  }

  #active(): Context {
    const { context, trace } = this.#api;
    const active = context.active();
    return trace.getSpanContext(active) === undefined ? (this.#kept.getStore() ?? active) : active;
  }

  #start(call: TracedCall, suffix: string, role: number, parent: Context): Span {
    const { kind, name, actorId, taskId = taskContext.getStore()?.taskId } = call;
    const connection = connectionOrNull();
    const dot = name.lastIndexOf(".");
    const attributes = {
      "ray.remote": kind === "task" ? "function" : "actor",
      ...(kind === "task"
        ? {}
        : { "ray.actor_class": name.slice(0, dot), "ray.actor_method": name.slice(dot + 1) }),
      "ray.function": name,
      "ray.pid": String(process.pid),
      ...(connection === null ? {} : placeOf(connection)),
      ...(taskId === undefined ? {} : { "ray.task_id": taskId }),
      ...(actorId == null ? {} : { "ray.actor_id": actorId }),
      "polyray.language": "ts",
    };
    return this.#tracer.startSpan(`${name} ${suffix}`, { kind: role, attributes }, parent);
  }

  // W3C always, so that the other language can read it, whatever the program's propagator is.
  #carrierOf(context: Context): Carrier {
    const carrier: Carrier = {};
    this.#api.propagation.inject(context, carrier);
    const span = this.#api.trace.getSpanContext(context);
    if (span === undefined) return carrier;
    const flags = span.traceFlags.toString(16).padStart(2, "0");
    carrier.traceparent = `00-${span.traceId}-${span.spanId}-${flags}`;
    const state = span.traceState?.serialize() ?? "";
    if (state !== "") carrier.tracestate = state;
    return carrier;
  }

  #parentOf(carrier: Carrier): Context {
    const { propagation, trace, ROOT_CONTEXT } = this.#api;
    const context = propagation.extract(ROOT_CONTEXT, carrier);
    if (trace.getSpanContext(context) !== undefined) return context;
    const parts = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/.exec(
      carrier.traceparent ?? "",
    );
    if (parts === null) return context;
    const [, traceId = "", spanId = "", flags = "0"] = parts;
    const state = carrier.tracestate;
    return trace.setSpanContext(context, {
      traceId,
      spanId,
      traceFlags: Number.parseInt(flags, 16),
      isRemote: true,
      ...(state === undefined
        ? {}
        : { traceState: this.#api.createTraceState(state) as SpanContext["traceState"] }),
    });
  }
}

interface Flushes {
  forceFlush?(): Promise<void>;
}

/** The span of a call that runs. */
export class Execution {
  /** Null: there is none, or it has ended. */
  #span: Span | null;
  readonly #within: <T>(run: () => T) => T;

  constructor(span: Span | null, within: <T>(run: () => T) => T) {
    this.#span = span;
    this.#within = within;
  }

  /** Runs a body; the span ends with it, or with the promise that it gives. `stays`: only when it throws. */
  run<T>(body: () => T, stays = false): T {
    let result: T;
    try {
      result = this.#within(body);
    } catch (error) {
      this.end(error);
      throw error;
    }
    if (stays) return result;
    const { then } = (result ?? {}) as { then?: unknown };
    if (typeof result === "object" && typeof then === "function") {
      const once = this.#within(() => Promise.resolve(result)); // a lazy thenable runs at each `then`
      this.#endWith(once);
      return once as T;
    }
    this.end();
    return result;
  }

  #endWith(promise: Promise<unknown>): void {
    promise.then(
      () => this.end(),
      (error: unknown) => this.end(error),
    );
  }

  /** Runs the generator that a body gave; the span ends with it. */
  follow<T extends { readonly promise: Promise<unknown> }>(start: () => T): T {
    const started = this.#within(start);
    this.#endWith(started.promise);
    return started;
  }

  /** `error`: what the body threw. */
  end(...error: [] | [unknown]): void {
    const span = this.#span;
    if (span === null) return;
    this.#span = null;
    if (error.length > 0) fail(span, error[0]);
    span.end();
  }
}

function fail(span: Span, error: unknown): void {
  const message = textOf(error);
  span.setStatus({ code: failed, message });
  try {
    span.recordException(error instanceof Error ? error : message);
  } catch {} // it reads what the user's error is made of
}

function textOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "an error without a text";
  }
}

function placeOf(connection: Connection): Record<string, string> {
  const { jobId, nodeId, workerId } = connection.identity();
  return { "ray.job_id": jobId, "ray.node_id": nodeId, "ray.worker_id": workerId };
}
