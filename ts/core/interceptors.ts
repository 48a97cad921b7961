// SPDX-License-Identifier: Apache-2.0
// Functions around every call: where it is submitted (this process) and where it runs (workers; they get theirs as plugins,
// ts/worker/plugins.ts). Without one a call costs one comparison. Invariant: the one that was added first is outermost.

/** A call on its way. */
export interface InterceptedCall {
  readonly kind: "task" | "method";
  /** Name of the function, or `Class.method`. */
  readonly name: string;
  readonly args: readonly unknown[];
}

/** Gets a call and what goes on with it; gives the result of `next`, or another one. */
export type Interceptor = (
  call: InterceptedCall,
  next: (call: InterceptedCall) => unknown,
) => unknown;

/** The chain of one side; `run` is null when it is empty. */
export class Chain {
  readonly #list: Interceptor[] = [];
  run: Interceptor | null = null;

  add(one: Interceptor): () => void {
    this.#list.push(one);
    this.#compose();
    return () => {
      const at = this.#list.indexOf(one);
      if (at >= 0) this.#list.splice(at, 1);
      this.#compose();
    };
  }

  #compose(): void {
    this.run = this.#list.reduceRight<Interceptor | null>(
      (inner, outer) =>
        inner === null ? outer : (call, next) => outer(call, (changed) => inner(changed, next)),
      null,
    );
  }
}

/** Around `remote()`: the result is the call's ref, refs or stream. */
export const submitting = new Chain();
/** Around the body: the result is the value, or a promise or generator of it. */
export const executing = new Chain();
