// SPDX-License-Identifier: Apache-2.0
// The public types of tasks, actors and refs (docs/api-typescript.md). Types only.
// Known holes: generic functions lose their type parameter, of overloads the last one counts, and a function that really
// returns an ObjectRef gives ObjectRef<ObjectRef<T>>, as in Ray.

import type { ObjectRef } from "../object/ref.ts";
import type { BindArgs, GraphNode } from "./graph-node.ts";

/** A parameter of a remote call: the value, or a ref to it (then the value arrives). */
export type Arg<T> = T | ObjectRef<T>;

/** Parameters of a remote call. */
export type Args<A extends readonly unknown[]> = { [K in keyof A]: Arg<A[K]> };

/** What a generator task gives: refs of its items as they are made. */
export interface ObjectRefStream<out T> extends AsyncIterable<ObjectRef<T>>, AsyncDisposable {
  readonly then?: never;
  /** The items' values, in order. */
  values(): AsyncIterable<T>;
  /** Sealed when the generator has ended. */
  completed(): ObjectRef<void>;
}

/** What a call of a function that returns R gives at once. */
export type Result<R> =
  R extends AsyncGenerator<infer Y, unknown, unknown>
    ? ObjectRefStream<Y>
    : R extends Generator<infer Y, unknown, unknown>
      ? ObjectRefStream<Y>
      : ObjectRef<Awaited<R>>;

/** The refs of a call that returns a tuple and was given `numReturns`. */
export type TupleResult<R> = RefsOf<Awaited<R>>;
type RefsOf<V> = V extends readonly unknown[]
  ? { -readonly [K in keyof V]: ObjectRef<V[K]> }
  : ObjectRef<unknown>[];

/** A function that runs in a worker. */
export interface RemoteFunction<A extends unknown[], R> {
  /** Submits a call; returns at once. */
  remote(...args: Args<A>): Result<R>;
  /** A node of a lazy graph (`graph`): the call as it will be made in each run. */
  bind(...args: BindArgs<A>): GraphNode<Awaited<R>>;
  /** Submits a call per item (its first argument); the refs are in the order of the items. */
  map(items: Iterable<Arg<A[0]>>, options?: MapBatchOptions): Result<R>[];
  /** The same function with other options. `numReturns` above 1 splits a returned tuple. */
  options<O extends TaskOptions>(options: O): WithOptions<A, R, O>;
}

/** What a remote function becomes under options: `numReturns` above 1 splits the returned tuple. */
export type WithOptions<A extends unknown[], R, O> = O extends
  | { readonly numReturns: "streaming" }
  | { readonly stream: true | StreamOptions }
  ? RemoteStreamFunction<A, R>
  : O extends { readonly numReturns: 1 }
    ? RemoteFunction<A, R>
    : O extends { readonly numReturns: number }
      ? RemoteTupleFunction<A, R>
      : RemoteFunction<A, R>;

/** A function that was asked to stream: a generator function stays what it is; others give a stream of their items. */
export type RemoteStreamFunction<A extends unknown[], R> =
  Result<R> extends ObjectRefStream<unknown>
    ? RemoteFunction<A, R>
    : RemoteFunction<A, AsyncGenerator<ItemOf<Awaited<R>>, unknown, unknown>>;
type ItemOf<V> = V extends string
  ? string
  : V extends Iterable<infer Y>
    ? Y
    : V extends AsyncIterable<infer Y>
      ? Y
      : unknown;

/** Options of `map` of a remote function. */
export interface MapBatchOptions {
  /** Calls that are handed over together. Default: all of one turn. */
  readonly batch?: number;
}

/** A remote function whose tuple result comes as one ref per element. */
export interface RemoteTupleFunction<A extends unknown[], R> {
  remote(...args: Args<A>): TupleResult<R>;
  options<O extends TaskOptions>(options: O): RemoteTupleFunction<A, R>;
}

/** A method of a handle. */
export interface RemoteMethod<A extends unknown[], R> extends RemoteFunction<A, R> {
  /** Resolves when `maxPendingCalls` leaves room for a call; at once when there is no limit. */
  ready(options?: WaitOptions): Promise<void>;
}

/** A handle to an actor: its methods, remote. Fields and getters do not appear. Never thenable. */
export type ActorHandle<T> = AsyncDisposable & { readonly then?: never } & {
  readonly [K in keyof T as K extends typeof Symbol.asyncDispose | typeof Symbol.dispose
    ? never
    : T[K] extends (...args: never[]) => unknown
      ? K
      : never]: T[K] extends (...args: infer A) => infer R ? RemoteMethod<A, R> : never;
} & {
  /** Resolves when the actor is constructed; rejects with ActorDiedError. A method of that name stays: `ready.remote()`. */
  ready(options?: WaitOptions): Promise<void>;
};

/** A class whose instances live in workers. */
// biome-ignore lint/suspicious/noExplicitAny: the constraint must accept every constructor
export interface RemoteClass<C extends new (...args: any) => any> {
  /** Creates an actor; returns its handle at once. */
  remote(...args: Args<ConstructorParameters<C>>): ActorHandle<InstanceType<C>>;
  options(options: ActorOptions): RemoteClass<C>;
}

/** Amount of memory: bytes, or text such as "4GiB". */
export type Bytes = number | string;

/** A list of requirements, the path of a requirements file, or the list with options. */
export type PythonRequirements =
  | readonly string[]
  | string
  | {
      readonly packages: readonly string[];
      /** Run the tool's own check afterwards. Default false. */
      readonly check?: boolean;
      /** Version of the tool, such as "==24.0". */
      readonly version?: string;
      readonly installOptions?: readonly string[];
    };

/**
 * The environment of workers. A task's or actor's fields replace those of the job; envVars are merged name by name.
 * What cannot be set up is a RuntimeEnvSetupError of the calls that need it, naming the step.
 */
export interface RuntimeEnvOptions {
  /** Variables set in the worker before user code runs. */
  readonly envVars?: Readonly<Record<string, string>>;
  /** A folder or archive: copied by content, and the workers' working folder. */
  readonly workingDir?: string;
  /** Patterns as in .gitignore of what of workingDir is left out. */
  readonly excludes?: readonly string[];
  readonly python?: {
    readonly pip?: PythonRequirements;
    readonly uv?: PythonRequirements;
    /** Folders, wheels or files that Python workers can import. */
    readonly modules?: readonly string[];
    /** Interpreter, with leading arguments if any. */
    readonly executable?: string;
    /** Folder of an existing conda environment. */
    readonly conda?: string;
  };
  readonly node?: {
    /** Its dependencies are installed once per content, without install scripts. */
    readonly packageJson?: string;
    /** Default: package-lock.json beside packageJson, if there is one. */
    readonly lockfile?: string;
    /** Name to version, instead of packageJson. */
    readonly packages?: Readonly<Record<string, string>>;
    readonly executable?: string;
    readonly execArgv?: readonly string[];
    readonly resourceLimits?: {
      readonly maxOldGenerationSizeMb?: number;
      readonly maxYoungGenerationSizeMb?: number;
      readonly stackSizeMb?: number;
    };
  };
  /** "module#export": a function that TypeScript workers call before user code. */
  readonly setupHook?: string;
  readonly config?: {
    /** Milliseconds for one step of the set-up; -1: no limit. Default 600,000. */
    readonly setupTimeoutMs?: number;
    /** Begin when the job starts. Default true. */
    readonly eager?: boolean;
  };
}

/** What a label of a node must be: "a", "!a", "in(a,b)", or a rule. */
export type LabelRule =
  | string
  | { readonly in: readonly string[] }
  | { readonly notIn: readonly string[] }
  | { readonly exists: boolean };

/** Where something may run; made by pg.bundle(i), pg.any(), nodeAffinity(id), nodeLabels({...}). */
export type Scheduling =
  | "default"
  | "spread"
  | {
      readonly placementGroup: string;
      readonly bundle?: number;
      readonly bundleCount?: number;
      readonly captureChildren?: boolean;
    }
  | { readonly nodeId: string; readonly soft?: boolean }
  | {
      readonly hard?: Readonly<Record<string, LabelRule>>;
      readonly soft?: Readonly<Record<string, LabelRule>>;
    };

/** Options that tasks and actors share. */
export interface SharedOptions {
  /** Logical CPUs, in steps of 1/10,000. Default: task 1; actor 0 while it runs. */
  readonly numCpus?: number;
  /** Logical GPUs. Default 0. */
  readonly numGpus?: number;
  readonly memory?: Bytes;
  /** Custom resources by name. */
  readonly resources?: Readonly<Record<string, number>>;
  /** Task: name in logs and errors. Actor: name to find it by. */
  readonly name?: string;
  readonly runtimeEnv?: RuntimeEnvOptions;
  /** Where it may run. Default: in the placement group of its parent when that captures, else anywhere. */
  readonly scheduling?: Scheduling;
  /** Labels that its node must have. */
  readonly labels?: Readonly<Record<string, LabelRule>>;
  /** A kind of accelerator that its node must have, such as "A100". */
  readonly acceleratorType?: string;
  /** Higher goes first among calls that wait; equal ones in order. Default 0. */
  readonly priority?: number;
  /** Where it runs: a process of its own kind. Other kinds are not built yet. */
  readonly isolation?: "process";
  /** Accepted for Ray's programs: whether the state API shows it. */
  readonly taskEvents?: boolean;
}

/** Which errors of a function are retried: all (true), none, those of some classes, or as a function says. */
export type RetryErrors =
  | boolean
  | readonly (abstract new (
      ...args: never[]
    ) => Error)[]
  | ((error: unknown) => boolean | PromiseLike<boolean>);

/** How often and how soon a call that failed runs again. With it all errors are retried, unless retryErrors says which. */
export interface RetryPlan {
  /** Runs after the first one; -1 for ever. Default: maxRetries. */
  readonly max?: number;
  /** How the pause grows: not, by `initialMs` each time, or doubling. Default "exponential". */
  readonly backoff?: "fixed" | "linear" | "exponential";
  /** The first pause in milliseconds. Default 100. */
  readonly initialMs?: number;
  /** The longest pause in milliseconds. Default 30,000. */
  readonly maxMs?: number;
  /** Share of the pause (0 to 1) that is random; true is 1. Default 0. */
  readonly jitter?: number | boolean;
}

/** Streams: how many items may wait before `yield` waits. Default 16; 0 is no limit. */
export interface StreamOptions {
  readonly highWaterMark?: number;
}

export interface TaskOptions extends SharedOptions {
  /** How many refs a call gives; the function returns a tuple of that length. "streaming": as `stream: true`. Default 1. */
  readonly numReturns?: number | "streaming";
  /** Runs again after a worker died; -1 for ever. Default 3. */
  readonly maxRetries?: number;
  /** Run again after an error of the function too: all, those of these classes, or as the function says. Default false. */
  readonly retryExceptions?: RetryErrors;
  /** The same as retryExceptions. */
  readonly retryErrors?: RetryErrors;
  /** How often and how soon it runs again. */
  readonly retry?: RetryPlan;
  /** A worker that ran the function so often is replaced by a fresh one. Default 0: never. */
  readonly maxCalls?: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
  /** Time limit of the run, in milliseconds: TaskTimeoutError. */
  readonly timeoutMs?: number;
  /** The call gives a stream. Known by itself for TypeScript generator functions; to be stated for Python ones. */
  readonly stream?: boolean | StreamOptions;
  /**
   * Calls of this function with an equal key run once in the whole runtime (and namespace); later ones, of any program, get
   * the result of the first, an error too. The function is known by its module and export, or by its name and code.
   */
  readonly idempotencyKey?: string;
  /** Method calls only: how often a call is sent again over restarts of the actor. */
  readonly maxTaskRetries?: number;
  /** Method calls only: the pool of the actor that runs the call. */
  readonly concurrencyGroup?: string;
}

export interface ActorOptions extends SharedOptions {
  readonly namespace?: string;
  /** Give the existing actor of that name instead of an error. */
  readonly getIfExists?: boolean;
  /** "detached": it outlives its driver. */
  readonly lifetime?: "detached" | "non_detached";
  /** Starts again after its worker died; -1 for ever. Default 0. */
  readonly maxRestarts?: number;
  /** Calls sent again over a restart; -1 for ever. Default 0. */
  readonly maxTaskRetries?: number;
  /** Async methods that may interleave. Default 1: one method at a time, in order. */
  readonly maxConcurrency?: number;
  /** Pools of calls by name and how many of each may interleave; methods name theirs by `concurrencyGroup`. */
  readonly concurrencyGroups?: Readonly<Record<string, number>>;
  /** Calls that may wait; more throw PendingCallsLimitExceeded. Default -1: no limit. */
  readonly maxPendingCalls?: number;
  /** Accepted for Ray's programs; the store is shared, so that it has no effect. */
  readonly objectStoreMemory?: Bytes;
  /** False: a call may overtake an earlier one of its caller that waits for its arguments. Default true. */
  readonly ordered?: boolean;
}

/** What a method may ask for itself (`@method({...})`). */
export interface MethodOptions {
  /** How many refs a call gives; the method returns a tuple of that length. */
  readonly numReturns?: number | "streaming";
  /** How often a call is sent again over restarts of the actor. */
  readonly maxTaskRetries?: number;
  /** Run again after an error of the method, at most maxTaskRetries times. */
  readonly retryExceptions?: RetryErrors;
  /** The same as retryExceptions. */
  readonly retryErrors?: RetryErrors;
  /** How often and how soon it runs again. */
  readonly retry?: RetryPlan;
  /** The pool of the actor that runs it. */
  readonly concurrencyGroup?: string;
  /** It gives a stream. Known by itself for generator methods. */
  readonly stream?: boolean | StreamOptions;
  /** Time limit of a run, in milliseconds. */
  readonly timeoutMs?: number;
  readonly taskEvents?: boolean;
}

/** Options of get and wait. */
export interface WaitOptions {
  /** Milliseconds; 0 looks once. Default: no limit. */
  readonly timeoutMs?: number;
  /** Ends the wait (not the task). */
  readonly signal?: AbortSignal;
}
