// SPDX-License-Identifier: Apache-2.0
// The public types of tasks, actors and refs (docs/api-typescript.md). Types only.
// Known holes: generic functions lose their type parameter, of overloads the last one counts, and a function that really
// returns an ObjectRef gives ObjectRef<ObjectRef<T>>, as in Ray.

import type { ObjectRef } from "../object/ref.ts";

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
  /** The same function with other options. `numReturns` above 1 splits a returned tuple. */
  options<O extends TaskOptions>(options: O): WithOptions<A, R, O>;
}

/** What a remote function becomes under options: `numReturns` above 1 splits the returned tuple. */
export type WithOptions<A extends unknown[], R, O> = O extends { readonly numReturns: 1 }
  ? RemoteFunction<A, R>
  : O extends { readonly numReturns: number }
    ? RemoteTupleFunction<A, R>
    : RemoteFunction<A, R>;

/** A remote function whose tuple result comes as one ref per element. */
export interface RemoteTupleFunction<A extends unknown[], R> {
  remote(...args: Args<A>): TupleResult<R>;
  options<O extends TaskOptions>(options: O): RemoteTupleFunction<A, R>;
}

/** A handle to an actor: its methods, remote. Fields and getters do not appear. Never thenable. */
export type ActorHandle<T> = AsyncDisposable & { readonly then?: never } & {
  readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? K : never]: T[K] extends (
    ...args: infer A
  ) => infer R
    ? RemoteFunction<A, R>
    : never;
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

/** An environment of a worker. */
export interface RuntimeEnvOptions {
  /** Variables set in the worker before user code runs. */
  readonly envVars?: Readonly<Record<string, string>>;
}

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
}

export interface TaskOptions extends SharedOptions {
  /** How many refs a call gives; the function returns a tuple of that length. Default 1. */
  readonly numReturns?: number;
  /** Runs again after a worker died; -1 for ever. Default 3. */
  readonly maxRetries?: number;
  /** Run again after an error of the function too: all, or of these classes. Default false. */
  readonly retryExceptions?: boolean | readonly (new (...args: never[]) => Error)[];
  /** The same as retryExceptions. */
  readonly retryErrors?: boolean | readonly (new (...args: never[]) => Error)[];
  /** Cancels the call. */
  readonly signal?: AbortSignal;
  /** Time limit of the run, in milliseconds: TaskTimeoutError. */
  readonly timeoutMs?: number;
  /** Generators: how many items may wait before `yield` waits. Default 16; 0 is no limit. */
  readonly stream?: { readonly highWaterMark?: number };
  /** Method calls only: how often a call is sent again over restarts of the actor. */
  readonly maxTaskRetries?: number;
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
  /** Calls that may wait; more throw PendingCallsLimitError. Default -1: no limit. */
  readonly maxPendingCalls?: number;
}

/** What a method may ask for itself (`@method({...})`). */
export interface MethodOptions {
  /** How many refs a call gives; the method returns a tuple of that length. */
  readonly numReturns?: number;
  /** How often a call is sent again over restarts of the actor. */
  readonly maxTaskRetries?: number;
}

/** Options of get and wait. */
export interface WaitOptions {
  /** Milliseconds; 0 looks once. Default: no limit. */
  readonly timeoutMs?: number;
  /** Ends the wait (not the task). */
  readonly signal?: AbortSignal;
}
