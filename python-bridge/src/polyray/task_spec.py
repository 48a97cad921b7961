# SPDX-License-Identifier: Apache-2.0
"""Task specs: the static part of a task or an actor class as FlatBuffers (proto/shm/v1/task.fbs).

Dataclasses in and out; absent fields are None or their default. Pure functions.
Invariants: (1) what TypeScript writes reads the same here and the other way (test/contract); (2)
bytes that are no task spec give a CorruptValueError; (3) numpy is not imported, although the
FlatBuffers runtime wants to: a Python zygote must stay single-threaded, so the runtime gets a
module that imports numpy when it is first used.
"""

from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from polyray.envelope import corrupt
from polyray.limits import DEFAULT_MAX_RETRIES, RESOURCE_UNIT


class _LazyNumpy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("numpy"), name)


def _import_flatbuffers() -> tuple[Any, ...]:
    lazy = "numpy" not in sys.modules
    if lazy:
        sys.modules["numpy"] = _LazyNumpy("numpy")
    try:
        return (
            importlib.import_module("flatbuffers"),
            *(
                importlib.import_module(f"polyray.gen.{name}")
                for name in (
                    "TaskSpec",
                    "MethodSpec",
                    "NameValue",
                    "ResourceAmount",
                    "ConcurrencyGroup",
                )
            ),
        )
    finally:
        if lazy:
            del sys.modules["numpy"]


_fb, _task, _method, _pair, _amount, _group = _import_flatbuffers()

_KINDS = ("task", "actor_class")
_LANGUAGES = ("ts", "py")
_FORMS = ("module", "value")


@dataclass(frozen=True)
class MethodFields:
    """What a method of an actor class asks for itself."""

    name: str
    num_returns: int = 1
    is_async: bool = False
    is_generator: bool = False
    concurrency_group: str | None = None
    max_task_retries: int = 0
    retry_exceptions: bool = False
    retry_exception_list: bytes | None = None
    max_concurrency: int = 0
    timeout_ms: float = 0.0


@dataclass(frozen=True)
class TaskSpecFields:
    """The fields of a task spec.

    Numbers that are 0 mean "the default"; -1 returns is a stream, -1 retries is for ever.
    """

    kind: str
    language: str
    name: str
    form: str = "module"
    module: str | None = None
    export_name: str | None = None
    payload: bytes | None = None
    content_hash: str | None = None
    num_returns: int = 1
    max_retries: int = DEFAULT_MAX_RETRIES
    retry_exceptions: bool = False
    retry_exception_list: bytes | None = None
    max_calls: int = 0
    max_concurrency: int = 0
    max_restarts: int = 0
    max_task_retries: int = 0
    is_async: bool = False
    is_generator: bool = False
    resources: Mapping[str, float] = field(default_factory=dict)
    env_vars: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    loader_args: Sequence[str] = ()
    sys_path: Sequence[str] = ()
    concurrency_groups: Mapping[str, int] = field(default_factory=dict)
    scheduling: str | None = None
    priority: int = 0
    timeout_ms: float = 0.0
    stream_high_water_mark: int = 0
    methods: Sequence[MethodFields] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = None
    actor_name: str | None = None
    lifetime: str | None = None
    max_pending_calls: int = -1
    runtime_env_hash: str | None = None


def to_fixed_point(amount: float) -> int:
    """Resource amounts are whole numbers of 1/10000."""
    fixed = round(amount * RESOURCE_UNIT)
    if not 0 <= fixed < 2**53:
        raise ValueError(f"not an amount of a resource: {amount}")
    return fixed


# The numbers and flags of a table by name: the same in the dataclass and, in CamelCase, in the
# generated code.
_METHOD_NUMBERS = (
    "num_returns",
    "is_async",
    "is_generator",
    "max_task_retries",
    "retry_exceptions",
    "max_concurrency",
    "timeout_ms",
)
_TASK_NUMBERS = (
    "num_returns",
    "max_retries",
    "retry_exceptions",
    "max_calls",
    "max_concurrency",
    "max_restarts",
    "max_task_retries",
    "is_async",
    "is_generator",
    "priority",
    "timeout_ms",
    "stream_high_water_mark",
    "max_pending_calls",
)
_TASK_TEXTS = (
    "module",
    "export_name",
    "content_hash",
    "name",
    "working_dir",
    "scheduling",
    "actor_name",
    "lifetime",
    "runtime_env_hash",
)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _text(builder: Any, value: str | None) -> int:
    return 0 if value is None else int(builder.CreateString(value))


def _bytes(builder: Any, value: bytes | None) -> int:
    return 0 if value is None else int(builder.CreateByteVector(bytes(value)))


def _entry(builder: Any, module: Any, name: str, add: Callable[[Any], None]) -> int:
    offset = builder.CreateString(name)
    module.Start(builder)
    module.AddName(builder, offset)
    add(builder)
    return int(module.End(builder))


def _pairs(builder: Any, values: Mapping[str, str]) -> int:
    def pair(name: str, value: str) -> int:
        offset = builder.CreateString(value)
        return _entry(builder, _pair, name, lambda b: _pair.AddValue(b, offset))

    return _vector(builder, [pair(name, value) for name, value in values.items()])


def _write_method(builder: Any, fields: MethodFields) -> int:
    name = builder.CreateString(fields.name)
    group = _text(builder, fields.concurrency_group)
    retry = _bytes(builder, fields.retry_exception_list)
    _method.Start(builder)
    _method.AddName(builder, name)
    _method.AddConcurrencyGroup(builder, group)
    _method.AddRetryExceptionList(builder, retry)
    for number in _METHOD_NUMBERS:
        getattr(_method, f"Add{_camel(number)}")(builder, getattr(fields, number))
    return int(_method.End(builder))


def encode_task_spec(fields: TaskSpecFields) -> bytes:
    """Write a task spec."""
    builder = _fb.Builder(512)
    offsets = {_camel(name): _text(builder, getattr(fields, name)) for name in _TASK_TEXTS}
    offsets["NamespaceName"] = _text(builder, fields.namespace)
    offsets["Payload"] = _bytes(builder, fields.payload)
    offsets["RetryExceptionList"] = _bytes(builder, fields.retry_exception_list)
    offsets["EnvVars"] = _pairs(builder, fields.env_vars)
    offsets["Labels"] = _pairs(builder, fields.labels)
    offsets["LoaderArgs"] = _vector(
        builder, [builder.CreateString(text) for text in fields.loader_args]
    )
    offsets["SysPath"] = _vector(builder, [builder.CreateString(text) for text in fields.sys_path])
    amounts = {name: to_fixed_point(amount) for name, amount in fields.resources.items()}
    offsets["Resources"] = _vector(
        builder, [_write_amount(builder, *item) for item in amounts.items()]
    )
    groups = [_write_group(builder, *item) for item in fields.concurrency_groups.items()]
    offsets["ConcurrencyGroups"] = _vector(builder, groups)
    offsets["Methods"] = _vector(
        builder, [_write_method(builder, method) for method in fields.methods]
    )
    _task.Start(builder)
    for name, offset in offsets.items():
        getattr(_task, f"Add{name}")(builder, offset)
    _task.AddKind(builder, _KINDS.index(fields.kind))
    _task.AddLanguage(builder, _LANGUAGES.index(fields.language))
    _task.AddForm(builder, _FORMS.index(fields.form))
    for number in _TASK_NUMBERS:
        getattr(_task, f"Add{_camel(number)}")(builder, getattr(fields, number))
    builder.Finish(_task.End(builder), b"PRTS")
    return bytes(builder.Output())


def _write_amount(builder: Any, name: str, amount: int) -> int:
    return _entry(builder, _amount, name, lambda b: _amount.AddAmount(b, amount))


def _write_group(builder: Any, name: str, limit: int) -> int:
    return _entry(builder, _group, name, lambda b: _group.AddLimit(b, limit))


def _str(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _byte_field(table: Any, field_id: int) -> bytes | None:
    tab = table._tab
    offset = tab.Offset(4 + 2 * field_id)
    if offset == 0:
        return None
    start = tab.Vector(offset)
    length = tab.VectorLen(offset)
    if start + length > len(tab.Bytes):
        raise ValueError("a byte field is cut off")
    return bytes(tab.Bytes[start : start + length])


def _items(table: Any, name: str) -> list[Any]:
    length = getattr(table, f"{name}Length")()
    if length > len(table._tab.Bytes):
        raise ValueError(f"{name} has {length} entries")
    return [getattr(table, name)(i) for i in range(length)]


def _record(table: Any, name: str, value: Callable[[Any], Any]) -> dict[str, Any]:
    return {_str(item.Name()) or "": value(item) for item in _items(table, name)}


def _read_method(table: Any) -> MethodFields:
    numbers = {name: getattr(table, _camel(name))() for name in _METHOD_NUMBERS}
    return MethodFields(
        name=_str(table.Name()) or "",
        concurrency_group=_str(table.ConcurrencyGroup()),
        retry_exception_list=_byte_field(table, 7),
        **numbers,
    )


def decode_task_spec(data: Any) -> TaskSpecFields:
    """Read a task spec."""
    raw = bytes(data)
    try:
        if len(raw) < 8 or raw[4:8] != b"PRTS":
            raise ValueError("the mark PRTS is missing")
        return _read(_task.TaskSpec.GetRootAs(raw, 0))
    except (
        ValueError,
        IndexError,
        TypeError,
        OverflowError,
        AttributeError,
        struct.error,
    ) as error:
        raise corrupt(f"no task spec: {error}") from error


def _read(table: Any) -> TaskSpecFields:
    values: dict[str, Any] = {name: getattr(table, _camel(name))() for name in _TASK_NUMBERS}
    values.update({name: _str(getattr(table, _camel(name))()) for name in _TASK_TEXTS})
    values["name"] = values["name"] or ""
    return TaskSpecFields(
        kind=_KINDS[table.Kind()],
        language=_LANGUAGES[table.Language()],
        form=_FORMS[table.Form()],
        payload=_byte_field(table, 5),
        retry_exception_list=_byte_field(table, 11),
        resources=_record(table, "Resources", lambda item: item.Amount() / RESOURCE_UNIT),
        env_vars=_record(table, "EnvVars", lambda item: _str(item.Value()) or ""),
        loader_args=[_str(item) or "" for item in _items(table, "LoaderArgs")],
        sys_path=[_str(item) or "" for item in _items(table, "SysPath")],
        concurrency_groups=_record(table, "ConcurrencyGroups", lambda item: item.Limit()),
        methods=[_read_method(item) for item in _items(table, "Methods")],
        labels=_record(table, "Labels", lambda item: _str(item.Value()) or ""),
        namespace=_str(table.NamespaceName()),
        **values,
    )
