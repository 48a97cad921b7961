# SPDX-License-Identifier: Apache-2.0
"""Value -> envelope body, by the table in docs/values.md. One Encoder per value.

It collects refs, buffers and pickle groups. Encoders are reused through an idle list, whose `pop`
and `append` are atomic: threads never share one. numpy and pyarrow are never imported here unless
the value is one of theirs. Invariants: (1) exact types only follow the plain rules, everything else
is pickled; (2) what cannot be plain (a cycle, too deep) makes its whole root one opaque payload;
(3) errors name the path.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack

from polyray import _native, remade
from polyray import values as v
from polyray.envelope import FLAG_ARROW, Encoded, Part, byte_view, envelope_refs
from polyray.errors import error_fields
from polyray.exceptions import RayError, UnserializableException
from polyray.limits import INLINE_BUFFER_BYTES
from polyray.pickling import PickleGroup, group_bytes
from polyray.values import (
    PLAIN_CONTEXT,
    CodecValue,
    EncodeContext,
    JsFunction,
    JsObject,
    JsRegExp,
    type_name,
)

_Ext = msgpack.ExtType
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICRO = timedelta(microseconds=1)
_MAX_NESTED_EXT = 64
_LIFT_ITEMS = 64
_BIG_STREAM_BYTES = 4 * 1024 * 1024
_BYTES = frozenset((bytes, bytearray, memoryview))
PLAIN_TYPES = frozenset((int, float, str, bool, type(None)))


def new_packer(default: Callable[[Any], Any] | None) -> msgpack.Packer:
    return msgpack.Packer(
        default=default,
        strict_types=True,
        use_bin_type=True,
        unicode_errors="surrogatepass",
        buf_size=4096,
    )


pack_plain = new_packer(None).pack


class NotPlainError(Exception):
    """This root must travel as one opaque payload."""


class Encoder:
    """Encodes one value at a time."""

    def __init__(self) -> None:
        self.packers: list[msgpack.Packer] = []
        self.reset(PLAIN_CONTEXT)

    def reset(self, ctx: EncodeContext) -> None:
        self.ctx = ctx
        self.refs: list[bytes] = []
        self.ref_index: dict[bytes, int] = {}
        self.parts: list[Any] = []
        self.part_index: dict[int, tuple[int, Any]] = {}
        self.groups: list[PickleGroup] = []
        self.group: PickleGroup | None = None
        self.flags = 0
        self.depth = 0

    # -- tables

    def ref(self, object_id: bytes) -> int:
        index = self.ref_index.get(object_id)
        if index is None:
            index = self.ref_index[object_id] = len(self.refs)
            self.refs.append(object_id)
        return index

    def part(self, owner: Any, make: Callable[[], Any]) -> int:
        known = self.part_index.get(id(owner))
        if known is not None:
            return known[0]
        index = len(self.parts)
        self.parts.append(make())
        self.part_index[id(owner)] = (index, owner)
        return index

    # -- writing

    def pack(self, value: Any) -> bytes:
        depth = self.depth
        if depth >= _MAX_NESTED_EXT:
            raise NotPlainError
        if depth == len(self.packers):
            self.packers.append(new_packer(self.default))
        self.depth = depth + 1
        data: bytes = self.packers[depth].pack(value)
        self.depth = depth
        return data

    def root(self, value: Any, name: str) -> bytes:
        """The body of a root value; one that is not plain becomes one opaque payload."""
        mark = (len(self.refs), len(self.parts), len(self.groups), self.group)
        try:
            return self.pack(self.lift(value))
        except (NotPlainError, RecursionError):
            pass
        except ValueError as error:
            if isinstance(error, RayError):
                raise
            if "recursion limit" not in str(error) and "too large" not in str(error):
                raise UnserializableException(f"[cannot be sent] {name}: {error}.") from error
        except BufferError as error:
            raise UnserializableException(f"[cannot be sent] {name}: {error}.") from error
        self.rewind(*mark)
        return self.pack(self.opaque(value))

    def rewind(self, refs: int, parts: int, groups: int, group: PickleGroup | None) -> None:
        self.packers = []
        self.depth = 0
        for object_id in self.refs[refs:]:
            del self.ref_index[object_id]
        del self.refs[refs:]
        del self.parts[parts:]
        del self.groups[groups:]
        self.part_index = {key: item for key, item in self.part_index.items() if item[0] < parts}
        self.group = group

    def lift(self, value: Any) -> Any:
        """Long byte strings near the root leave the body, which saves a copy of them."""
        kind = type(value)
        if kind in _BYTES:
            return self.bytes_form(value)
        if kind is list and len(value) <= _LIFT_ITEMS:
            if any(type(item) in _BYTES for item in value):
                return [self.bytes_form(item) if type(item) in _BYTES else item for item in value]
        elif (
            kind is dict
            and len(value) <= _LIFT_ITEMS
            and any(type(item) in _BYTES for item in value.values())
        ):
            return {
                key: self.bytes_form(item) if type(item) in _BYTES else item
                for key, item in value.items()
            }
        return value

    def bytes_form(self, value: Any) -> Any:
        view = memoryview(value)
        if not view.c_contiguous:
            value = view.tobytes()
            view = memoryview(value)
        if view.nbytes <= INLINE_BUFFER_BYTES:
            return value
        return _Ext(v.EXT_BUFFER, _u32(self.part(value, lambda: byte_view(view))))

    def default(self, value: Any) -> Any:
        """Called by the packer for whatever MessagePack has no form for."""
        write = _WRITERS.get(type(value))
        if write is not None:
            return write(self, value)
        object_id = self.ctx.ref_id_of(value)
        if object_id is not None:
            return _Ext(v.EXT_REF, _u32(self.ref(object_id)))
        handle = self.ctx.handle_of(value)
        if handle is not None:
            ref, meta = handle
            return _Ext(
                v.EXT_ACTOR_HANDLE, self.pack([None if ref is None else self.ref(ref), meta])
            )
        codec = v.codec_of(type(value))
        if codec is not None:
            return _Ext(v.EXT_CODEC, self.pack([codec.tag, codec.encode(value)]))
        if type(value) in v.SERIALIZERS:
            return self.opaque(value)
        return self.library_value(value)

    def library_value(self, value: Any) -> Any:
        module = type(value).__module__
        if module == "numpy" or module.startswith("numpy."):
            form = _numpy_form(self, value)
        elif module.startswith("pyarrow"):
            form = _arrow_form(self, value)
        elif isinstance(value, BaseException):
            form = self.error(value)
        elif hasattr(type(value), "__arrow_c_stream__") and _only_streams(self, value):
            import pyarrow

            form = _arrow_form(self, pyarrow.table(value))
        else:
            form = None
        return self.opaque(value) if form is None else form

    def opaque(self, value: Any) -> Any:
        if self.group is None:
            self.group = self.new_group()
        group = self.group
        return _Ext(v.EXT_PY_OBJECT, pack_plain([group.part, group.add(value), type_name(value)]))

    def new_group(self) -> PickleGroup:
        group = PickleGroup(len(self.parts))
        self.parts.append(None)
        self.groups.append(group)
        return group

    def error(self, error: BaseException) -> Any:
        fields = error_fields(error, self.pickled_error, self.depth)
        if "cause" in fields and not _is_sendable(self, fields["cause"]):
            del fields["cause"]
        return _Ext(v.EXT_ERROR, self.pack(fields))

    def pickled_error(self, error: BaseException) -> Any:
        """An exception in a group of its own: one that cannot be pickled spoils nothing else."""
        name = type_name(error)
        if remade.applies_to(error):
            error = remade.Remade(error)  # type: ignore[assignment]
        probe = PickleGroup(0)
        probe.add(error)
        try:
            probe.dump(self.ctx)
        except (
            Exception
        ):  # whatever the user's class raises: the error travels without its original
            return None
        group = self.new_group()
        return _Ext(v.EXT_PY_OBJECT, pack_plain([group.part, group.add(error), name]))

    def finish(self, body: bytes, flags: int, name: str, root: Any, arg_refs: int = 0) -> Encoded:
        for group in self.groups:
            try:
                dumped, buffers = group.dump(self.ctx)
            except RayError:
                raise
            except Exception as error:
                raise _refusal(self, group, name, root, error) from error
            first = len(self.parts)
            self.parts.extend(buffers)
            refs = [self.ref(object_id) for object_id in group.refs]
            data = group_bytes(dumped, range(first, first + len(buffers)), refs)
            self.parts[group.part] = memoryview(data)
        return Encoded(body, self.flags | flags, self.refs, self.parts, arg_refs)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _is_sendable(encoder: Encoder, value: Any) -> bool:
    return isinstance(value, BaseException) or type(value) in PLAIN_TYPES


def _big_int(encoder: Encoder, value: int) -> Any:
    magnitude = -value - 1 if value < 0 else value
    return _Ext(
        v.EXT_BIG_INT, value.to_bytes(magnitude.bit_length() // 8 + 1, "little", signed=True)
    )


def _datetime(encoder: Encoder, value: datetime) -> Any:
    if value.tzinfo is not timezone.utc:
        return encoder.opaque(value)
    return _Ext(v.EXT_DATE, ((value - _EPOCH) // _MICRO).to_bytes(8, "little", signed=True))


def _js_object(encoder: Encoder, value: JsObject) -> Any:
    return _Ext(v.EXT_JS_OBJECT, _u32(encoder.part(value, lambda: memoryview(value.data))))


def _js_function(encoder: Encoder, value: JsFunction) -> Any:
    for object_id in envelope_refs(value.envelope):
        encoder.ref(object_id)
    return _Ext(v.EXT_FUNCTION, _u32(encoder.part(value, lambda: memoryview(value.envelope))))


_WRITERS: dict[type, Callable[[Encoder, Any], Any]] = {
    tuple: lambda e, x: _Ext(v.EXT_TUPLE, e.pack(list(x))),
    set: lambda e, x: _Ext(v.EXT_SET, e.pack(list(x))),
    frozenset: lambda e, x: _Ext(v.EXT_FROZEN_SET, e.pack(list(x))),
    int: _big_int,
    complex: lambda e, x: _Ext(v.EXT_COMPLEX, struct.pack("<dd", x.real, x.imag)),
    datetime: _datetime,
    JsObject: _js_object,
    JsFunction: _js_function,
    JsRegExp: lambda e, x: _Ext(v.EXT_REG_EXP, e.pack([x.source, x.flags])),
    CodecValue: lambda e, x: _Ext(v.EXT_CODEC, e.pack([x.tag, x.payload])),
}


def _numpy_form(encoder: Encoder, value: Any) -> Any:
    numpy: Any = sys.modules["numpy"]
    if isinstance(value, numpy.generic):
        dtype = value.dtype.str
        if v.element_bytes(dtype) is None:
            return None
        return _Ext(v.EXT_NP_SCALAR, bytes([len(dtype)]) + dtype.encode() + value.tobytes())
    if type(value) is not numpy.ndarray:
        return None
    dtype = value.dtype.str
    if v.element_bytes(dtype) is None:
        return None

    def flat() -> memoryview:
        array = value if value.flags.c_contiguous else numpy.ascontiguousarray(value)
        return memoryview(array.reshape(-1).view(numpy.uint8))

    index = encoder.part(value, flat)
    return _Ext(v.EXT_ND_ARRAY, pack_plain([dtype, list(value.shape), index, v.ND_NUMPY]))


class StoreSink:
    """A file for pyarrow that copies what it is given into a buffer, as big values are copied."""

    closed = False

    def __init__(self, target: memoryview) -> None:
        self._target = target
        self._at = 0

    def write(self, data: Any) -> None:
        self._at = _native.copy_into(self._target, self._at, data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _arrow_form(encoder: Encoder, value: Any) -> Any:
    pyarrow: Any = sys.modules["pyarrow"]
    if type(value) is pyarrow.Table:
        kind = v.ARROW_TABLE
    elif type(value) is pyarrow.RecordBatch:
        kind = v.ARROW_RECORD_BATCH
    else:
        return None
    import pyarrow.ipc as ipc

    def write(sink: Any) -> None:
        with ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)

    def write_into(target: memoryview) -> None:
        if target.nbytes >= _BIG_STREAM_BYTES:
            write(StoreSink(target))
            return
        with pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(target)) as sink:
            write(sink)

    def measure() -> Part:
        sink = pyarrow.MockOutputStream()
        write(sink)
        return Part(sink.size(), write_into)

    encoder.flags |= FLAG_ARROW
    return _Ext(v.EXT_ARROW, pack_plain([encoder.part(value, measure), kind]))


_stream_kinds: dict[type, bool] = {}


def _only_streams(encoder: Encoder, value: Any) -> bool:
    # A relation of a database, say: it gives Arrow data (the PyCapsule protocol) and cannot be
    # pickled. Objects that can be (polars, pandas) keep their class.
    kind = type(value)
    known = _stream_kinds.get(kind)
    if known is None:
        probe = PickleGroup(0)
        probe.add(value)
        try:
            probe.dump(encoder.ctx)
            known = False
        except Exception:  # whatever its class raises
            known = True
        _stream_kinds[kind] = known
    return known


def _refusal(
    encoder: Encoder, group: PickleGroup, name: str, root: Any, error: Exception
) -> UnserializableException:
    culprit = group.objects[0]
    for value in group.objects:
        probe = PickleGroup(0)
        probe.add(value)
        try:
            probe.dump(encoder.ctx)
        except Exception:  # this is the one
            culprit = value
            break
    path = _find_path(root, culprit, name) or name or "an argument"
    refusal = UnserializableException(
        f"[cannot be sent] {path}: a {type_name(culprit)} cannot be pickled: "
        f"{type(error).__name__}: {error}.",
        cause=error,
    )
    refusal.path = path
    return refusal


def _find_path(root: Any, target: Any, name: str) -> str | None:
    seen: set[int] = set()
    queue: list[tuple[Any, str]] = [(root, name)]
    if name == "":  # the arguments of a call, by name
        queue = [(value, str(key)) for key, value in root.items()]
    for value, path in queue:
        if value is target:
            return path
        if id(value) in seen or not isinstance(value, (list, tuple, dict, set, frozenset)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            queue.extend((item, f"{path}[{key!r}]") for key, item in value.items())
        else:
            queue.extend((item, f"{path}[{i}]") for i, item in enumerate(value))
    return None


_idle: list[Encoder] = []


def take_encoder(ctx: EncodeContext) -> Encoder:
    try:
        encoder = _idle.pop()
    except IndexError:
        encoder = Encoder()
    encoder.reset(ctx)
    return encoder


def release_encoder(encoder: Encoder) -> None:
    encoder.reset(PLAIN_CONTEXT)
    if len(_idle) < 8:
        _idle.append(encoder)


def encode_root(value: Any, ctx: EncodeContext, flags: int, name: str) -> Encoded:
    encoder = take_encoder(ctx)
    body = encoder.root(value, name)
    encoded = encoder.finish(body, flags, name, value)
    release_encoder(encoder)
    return encoded


def arg_form(encoder: Encoder, value: Any) -> Any:
    if type(value) in PLAIN_TYPES:
        return value
    object_id = encoder.ctx.ref_id_of(value)
    return value if object_id is None else _Ext(v.EXT_ARG_REF, _u32(encoder.ref(object_id)))
