// SPDX-License-Identifier: Apache-2.0
// How remote functions and classes travel inside values and closures: as a ref to their spec, so that the receiver can
// call them without ever holding their code. One that refers to itself travels as its key (the worker knows the spec it
// runs); one of a mutual recursion carries its function along.

import { registerCodec } from "../object/codecs.ts";
import { ObjectRef } from "../object/ref.ts";
import { isActorHandle, type MethodDefaults } from "./actor-handle.ts";
import { connection } from "./context.ts";
import { carry } from "./function-values.ts";
import { RemoteClassCore } from "./remote-class.ts";
import { RemoteFunctionCore } from "./remote-function.ts";
import { RemoteSource } from "./remote-source.ts";
import { languageOf, type Target, travelForm } from "./specs.ts";
import { isGenerator } from "./streams.ts";
import type { ActorOptions, TaskOptions } from "./types.ts";

interface Travelling {
  readonly key: string;
  readonly name: string;
  readonly identity: string | null;
  readonly options: Record<string, unknown>;
  readonly language: "ts" | "py";
  readonly isGenerator: boolean;
  readonly methods: readonly string[];
  readonly methodOptions: Readonly<Record<string, MethodDefaults>>;
  readonly spec: ObjectRef | null;
  readonly specId: string;
  readonly fn: ((...args: never[]) => unknown) | null;
}

function travel(
  remote: RemoteFunctionCore | RemoteClassCore,
  options: TaskOptions | ActorOptions,
): Travelling {
  const { source } = remote;
  const { signal: _signal, ...rest } = options as TaskOptions;
  const base: Travelling = {
    key: source.key,
    name: source.name,
    identity: source.targetOrNull === null ? null : source.identity,
    options: { ...rest },
    language: "ts",
    isGenerator: false,
    methods: [],
    methodOptions: {},
    spec: null,
    specId: "",
    fn: null,
  };
  const target = source.targetOrNull;
  const form = target === null ? "key" : travelForm(source);
  if (target === null || form === "key") return base;
  const { methods, methodOptions = {} } =
    remote instanceof RemoteClassCore ? remote.meta() : { methods: [] };
  const known = {
    ...base,
    language: languageOf(target),
    isGenerator: isGenerator(target),
    methods,
    methodOptions,
  };
  if (form === "code" && target.kind === "value") return { ...known, fn: target.fn };
  const { ref, id } = remote.spec(connection());
  return { ...known, spec: ref, specId: id };
}

function sourceOf(wire: Travelling): RemoteSource {
  const known = RemoteSource.known(wire.key);
  if (known !== undefined && known.targetOrNull !== null) return known.named(wire.identity);
  let target: Target | null = null;
  if (wire.spec !== null) {
    const { language, isGenerator, methods, methodOptions } = wire;
    target = {
      kind: "spec",
      ref: wire.spec,
      id: wire.specId,
      language,
      isGenerator,
      methods,
      methodOptions,
    };
  } else if (wire.fn !== null) target = { kind: "value", fn: wire.fn };
  const source = new RemoteSource(target, wire.name, wire.key, wire.identity ?? null);
  return target === null ? source : source.remember();
}

/** Lets a spec find itself: the worker calls it for what it loads. */
export function rememberSpec(key: string, name: string, target: Target): void {
  if (RemoteSource.known(key) === undefined) new RemoteSource(target, name, key).remember();
}

registerCodec(RemoteFunctionCore, {
  tag: "polyray/RemoteFunction@1",
  encode: (remote) => travel(remote, remote.taskOptions),
  decode: (wire: Travelling) => new RemoteFunctionCore(sourceOf(wire), wire.options as TaskOptions),
});

registerCodec(RemoteClassCore, {
  tag: "polyray/RemoteClass@1",
  encode: (remote) => travel(remote, remote.actorOptions),
  decode: (wire: Travelling) => new RemoteClassCore(sourceOf(wire), wire.options as ActorOptions),
});

carry(
  (value) =>
    value instanceof ObjectRef ||
    value instanceof RemoteFunctionCore ||
    value instanceof RemoteClassCore ||
    isActorHandle(value),
);
