// SPDX-License-Identifier: Apache-2.0
// Task specs: the static part of a task or an actor class as FlatBuffers (proto/shm/v1/task.fbs).
// Plain objects in and out; every field is present, absent ones are null or their default. Pure functions.
// Invariants: (1) what Python writes reads the same here and the other way (test/contract); (2) bytes that are no
// task spec give a CorruptValueError.

import { Builder, ByteBuffer, type Offset } from "flatbuffers";
import { CorruptValueError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { ConcurrencyGroup } from "./gen/concurrency-group.ts";
import { FunctionForm } from "./gen/function-form.ts";
import { Kind } from "./gen/kind.ts";
import { Language } from "./gen/language.ts";
import { MethodSpec } from "./gen/method-spec.ts";
import { NameValue } from "./gen/name-value.ts";
import { ResourceAmount } from "./gen/resource-amount.ts";
import { TaskSpec } from "./gen/task-spec.ts";

/** What a method of an actor class asks for itself. */
export interface MethodFields {
  readonly name: string;
  readonly numReturns: number;
  readonly isAsync: boolean;
  readonly isGenerator: boolean;
  readonly concurrencyGroup: string | null;
  readonly maxTaskRetries: number;
  readonly retryExceptions: boolean;
  readonly retryExceptionList: Uint8Array | null;
  readonly maxConcurrency: number;
  readonly timeoutMs: number;
}

/** The fields of a task spec. Numbers that are 0 mean "the default" unless said otherwise. */
export interface TaskSpecFields {
  readonly kind: "task" | "actor_class";
  readonly language: "ts" | "py";
  /** An export of a module, or source by value in `payload`. */
  readonly form: "module" | "value";
  readonly module: string | null;
  readonly exportName: string | null;
  readonly payload: Uint8Array | null;
  readonly contentHash: string | null;
  readonly name: string;
  /** Refs that a call gives; -1 is a stream. */
  readonly numReturns: number;
  /** -1 is for ever. */
  readonly maxRetries: number;
  readonly retryExceptions: boolean;
  /** The classes to retry, as an envelope of the function's own language. */
  readonly retryExceptionList: Uint8Array | null;
  readonly maxCalls: number;
  readonly maxConcurrency: number;
  readonly maxRestarts: number;
  readonly maxTaskRetries: number;
  readonly isAsync: boolean;
  readonly isGenerator: boolean;
  /** Name and amount, as a number of whole units; rounded to 1/10000. */
  readonly resources: Readonly<Record<string, number>>;
  readonly envVars: Readonly<Record<string, string>>;
  readonly workingDir: string | null;
  readonly loaderArgs: readonly string[];
  readonly sysPath: readonly string[];
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  readonly scheduling: string | null;
  readonly priority: number;
  readonly timeoutMs: number;
  readonly streamHighWaterMark: number;
  readonly methods: readonly MethodFields[];
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string | null;
  readonly actorName: string | null;
  readonly lifetime: string | null;
  /** -1 is no limit. */
  readonly maxPendingCalls: number;
  readonly runtimeEnvHash: string | null;
}

/** The defaults of every field that a caller may leave out. */
export const taskSpecDefaults: Omit<TaskSpecFields, "kind" | "language" | "name"> = {
  form: "module",
  module: null,
  exportName: null,
  payload: null,
  contentHash: null,
  numReturns: 1,
  maxRetries: limits.defaultMaxRetries,
  retryExceptions: false,
  retryExceptionList: null,
  maxCalls: 0,
  maxConcurrency: 0,
  maxRestarts: 0,
  maxTaskRetries: 0,
  isAsync: false,
  isGenerator: false,
  resources: {},
  envVars: {},
  workingDir: null,
  loaderArgs: [],
  sysPath: [],
  concurrencyGroups: {},
  scheduling: null,
  priority: 0,
  timeoutMs: 0,
  streamHighWaterMark: 0,
  methods: [],
  labels: {},
  namespace: null,
  actorName: null,
  lifetime: null,
  maxPendingCalls: -1,
  runtimeEnvHash: null,
};

/** The defaults of a method. */
export const methodDefaults: Omit<MethodFields, "name"> = {
  numReturns: 1,
  isAsync: false,
  isGenerator: false,
  concurrencyGroup: null,
  maxTaskRetries: 0,
  retryExceptions: false,
  retryExceptionList: null,
  maxConcurrency: 0,
  timeoutMs: 0,
};

/** What a caller gives: the three names that have no default, and whatever differs from the defaults. */
export type TaskSpecInit = Pick<TaskSpecFields, "kind" | "language" | "name"> &
  Partial<Omit<TaskSpecFields, "methods">> & {
    readonly methods?: readonly (Pick<MethodFields, "name"> & Partial<MethodFields>)[];
  };

const kinds = ["task", "actor_class"] as const;
const languages = ["ts", "py"] as const;
const forms = ["module", "value"] as const;

/** Resource amounts are whole numbers of 1/10000. */
export function toFixedPoint(amount: number): bigint {
  const fixed = Math.round(amount * limits.resourceUnit);
  if (!Number.isSafeInteger(fixed) || fixed < 0)
    throw new RangeError(`not an amount of a resource: ${amount}`);
  return BigInt(fixed);
}

function text(b: Builder, value: string | null): Offset {
  return value === null ? 0 : b.createString(value);
}

function bytes(
  b: Builder,
  value: Uint8Array | null,
  make: (b: Builder, v: Uint8Array) => Offset,
): Offset {
  return value === null ? 0 : make(b, value);
}

function pairs(b: Builder, record: Readonly<Record<string, string>>): Offset[] {
  return Object.entries(record).map(([name, value]) =>
    NameValue.createNameValue(b, b.createString(name), b.createString(value)),
  );
}

function method(b: Builder, fields: MethodFields): Offset {
  const name = b.createString(fields.name);
  const group = text(b, fields.concurrencyGroup);
  const list = bytes(b, fields.retryExceptionList, MethodSpec.createRetryExceptionListVector);
  MethodSpec.startMethodSpec(b);
  MethodSpec.addName(b, name);
  MethodSpec.addNumReturns(b, fields.numReturns);
  MethodSpec.addIsAsync(b, fields.isAsync);
  MethodSpec.addIsGenerator(b, fields.isGenerator);
  MethodSpec.addConcurrencyGroup(b, group);
  MethodSpec.addMaxTaskRetries(b, fields.maxTaskRetries);
  MethodSpec.addRetryExceptions(b, fields.retryExceptions);
  MethodSpec.addRetryExceptionList(b, list);
  MethodSpec.addMaxConcurrency(b, fields.maxConcurrency);
  MethodSpec.addTimeoutMs(b, fields.timeoutMs);
  return MethodSpec.endMethodSpec(b);
}

/** Writes a task spec. */
export function encodeTaskSpec(init: TaskSpecInit): Uint8Array {
  const f: TaskSpecFields = {
    ...taskSpecDefaults,
    ...init,
    methods: (init.methods ?? []).map((m) => ({ ...methodDefaults, ...m })),
  };
  const b = new Builder(512);
  const adders = referenceFields(b, f);
  TaskSpec.startTaskSpec(b);
  for (const add of adders) add();
  TaskSpec.addKind(b, f.kind === "task" ? Kind.Task : Kind.ActorClass);
  TaskSpec.addLanguage(b, f.language === "ts" ? Language.TypeScript : Language.Python);
  TaskSpec.addForm(b, f.form === "module" ? FunctionForm.Module : FunctionForm.Value);
  TaskSpec.addNumReturns(b, f.numReturns);
  TaskSpec.addMaxRetries(b, f.maxRetries);
  TaskSpec.addRetryExceptions(b, f.retryExceptions);
  TaskSpec.addMaxCalls(b, f.maxCalls);
  TaskSpec.addMaxConcurrency(b, f.maxConcurrency);
  TaskSpec.addMaxRestarts(b, f.maxRestarts);
  TaskSpec.addMaxTaskRetries(b, f.maxTaskRetries);
  TaskSpec.addIsAsync(b, f.isAsync);
  TaskSpec.addIsGenerator(b, f.isGenerator);
  TaskSpec.addPriority(b, f.priority);
  TaskSpec.addTimeoutMs(b, f.timeoutMs);
  TaskSpec.addStreamHighWaterMark(b, f.streamHighWaterMark);
  TaskSpec.addMaxPendingCalls(b, f.maxPendingCalls);
  b.finish(TaskSpec.endTaskSpec(b), "PRTS");
  return b.asUint8Array();
}

// Strings, vectors and tables are written before the table that holds them: this writes them and gives what to add.
function referenceFields(b: Builder, f: TaskSpecFields): (() => void)[] {
  const T = TaskSpec;
  const strings = (list: readonly string[]) => list.map((s) => b.createString(s));
  const fields: [Offset, (b: Builder, offset: Offset) => void][] = [
    [text(b, f.module), T.addModule],
    [text(b, f.exportName), T.addExportName],
    [bytes(b, f.payload, T.createPayloadVector), T.addPayload],
    [text(b, f.contentHash), T.addContentHash],
    [text(b, f.name), T.addName],
    [bytes(b, f.retryExceptionList, T.createRetryExceptionListVector), T.addRetryExceptionList],
    [
      T.createResourcesVector(
        b,
        Object.entries(f.resources).map(([name, amount]) =>
          ResourceAmount.createResourceAmount(b, b.createString(name), toFixedPoint(amount)),
        ),
      ),
      T.addResources,
    ],
    [T.createEnvVarsVector(b, pairs(b, f.envVars)), T.addEnvVars],
    [text(b, f.workingDir), T.addWorkingDir],
    [T.createLoaderArgsVector(b, strings(f.loaderArgs)), T.addLoaderArgs],
    [T.createSysPathVector(b, strings(f.sysPath)), T.addSysPath],
    [
      T.createConcurrencyGroupsVector(
        b,
        Object.entries(f.concurrencyGroups).map(([name, limit]) =>
          ConcurrencyGroup.createConcurrencyGroup(b, b.createString(name), limit),
        ),
      ),
      T.addConcurrencyGroups,
    ],
    [text(b, f.scheduling), T.addScheduling],
    [
      T.createMethodsVector(
        b,
        f.methods.map((m) => method(b, m)),
      ),
      T.addMethods,
    ],
    [T.createLabelsVector(b, pairs(b, f.labels)), T.addLabels],
    [text(b, f.namespace), T.addNamespaceName],
    [text(b, f.actorName), T.addActorName],
    [text(b, f.lifetime), T.addLifetime],
    [text(b, f.runtimeEnvHash), T.addRuntimeEnvHash],
  ];
  return fields.map(
    ([offset, add]) =>
      () =>
        add.call(T, b, offset),
  );
}

// A damaged length must not make a vector of billions of entries; real specs are far below this.
const maxEntries = 100_000;

function list<T>(length: number, at: (i: number) => T | null): T[] {
  if (length > maxEntries) throw new RangeError(`a vector has ${length} entries`);
  return Array.from({ length }, (_, i) => {
    const item = at(i);
    if (item === null) throw new RangeError("an entry of a vector is missing");
    return item;
  });
}

function record<T extends { name(): string | null }, V>(
  items: T[],
  value: (item: T) => V,
): Record<string, V> {
  return Object.fromEntries(items.map((item) => [item.name() ?? "", value(item)]));
}

function pick<T>(values: readonly T[], index: number): T {
  const value = values[index];
  if (value === undefined) throw new RangeError(`enum value ${index} is unknown`);
  return value;
}

function methodFields(m: MethodSpec): MethodFields {
  return {
    name: m.name() ?? "",
    numReturns: m.numReturns(),
    isAsync: m.isAsync(),
    isGenerator: m.isGenerator(),
    concurrencyGroup: m.concurrencyGroup(),
    maxTaskRetries: m.maxTaskRetries(),
    retryExceptions: m.retryExceptions(),
    retryExceptionList: m.retryExceptionListArray(),
    maxConcurrency: m.maxConcurrency(),
    timeoutMs: m.timeoutMs(),
  };
}

/** Reads a task spec. Byte fields are views on `data`. */
export function decodeTaskSpec(data: Uint8Array): TaskSpecFields {
  try {
    const buffer = new ByteBuffer(data);
    if (data.length < 8 || !TaskSpec.bufferHasIdentifier(buffer))
      throw new RangeError("the mark PRTS is missing");
    const fields = taskFields(TaskSpec.getRootAsTaskSpec(buffer));
    for (const view of [fields.payload, fields.retryExceptionList]) {
      if (view !== null && view.byteOffset + view.length > data.byteOffset + data.length) {
        throw new RangeError("a byte field is cut off");
      }
    }
    return fields;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new CorruptValueError(
      `[value corrupt] no task spec: ${error.message}. Check that both sides run the same version.`,
    );
  }
}

function taskFields(t: TaskSpec): TaskSpecFields {
  return {
    kind: pick(kinds, t.kind()),
    language: pick(languages, t.language()),
    form: pick(forms, t.form()),
    module: t.module(),
    exportName: t.exportName(),
    payload: t.payloadArray(),
    contentHash: t.contentHash(),
    name: t.name() ?? "",
    numReturns: t.numReturns(),
    maxRetries: t.maxRetries(),
    retryExceptions: t.retryExceptions(),
    retryExceptionList: t.retryExceptionListArray(),
    maxCalls: t.maxCalls(),
    maxConcurrency: t.maxConcurrency(),
    maxRestarts: t.maxRestarts(),
    maxTaskRetries: t.maxTaskRetries(),
    isAsync: t.isAsync(),
    isGenerator: t.isGenerator(),
    resources: record(
      list(t.resourcesLength(), (i) => t.resources(i)),
      (r) => Number(r.amount()) / limits.resourceUnit,
    ),
    envVars: record(
      list(t.envVarsLength(), (i) => t.envVars(i)),
      (v) => v.value() ?? "",
    ),
    workingDir: t.workingDir(),
    loaderArgs: list(t.loaderArgsLength(), (i) => t.loaderArgs(i) as string | null),
    sysPath: list(t.sysPathLength(), (i) => t.sysPath(i) as string | null),
    concurrencyGroups: record(
      list(t.concurrencyGroupsLength(), (i) => t.concurrencyGroups(i)),
      (g) => g.limit(),
    ),
    scheduling: t.scheduling(),
    priority: t.priority(),
    timeoutMs: t.timeoutMs(),
    streamHighWaterMark: t.streamHighWaterMark(),
    methods: list(t.methodsLength(), (i) => t.methods(i)).map(methodFields),
    labels: record(
      list(t.labelsLength(), (i) => t.labels(i)),
      (v) => v.value() ?? "",
    ),
    namespace: t.namespaceName(),
    actorName: t.actorName(),
    lifetime: t.lifetime(),
    maxPendingCalls: t.maxPendingCalls(),
    runtimeEnvHash: t.runtimeEnvHash(),
  };
}
