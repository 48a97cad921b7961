# SPDX-License-Identifier: Apache-2.0
"""Envelope body -> value, by the table in docs/values.md.

One Decoder per envelope. Buffers are views on the envelope, never copies. numpy and pyarrow are
imported when a payload needs them. Invariant: bytes of any content give a value or one of the
errors of `BROKEN`, which the caller turns into a typed one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack

from polyray import values as v
from polyray.envelope import Header, corrupt, envelope_refs
from polyray.errors import error_of_fields
from polyray.exceptions import CorruptValueError, RayError
from polyray.pickling import load_group
from polyray.values import CodecValue, DecodeContext, JsFunction, JsObject, JsRegExp

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Decoder:
    """Reads one body."""

    __slots__ = ("ctx", "groups", "header", "in_error")

    def __init__(self, header: Header, ctx: DecodeContext) -> None:
        self.header = header
        self.ctx = ctx
        self.groups: dict[Any, list[Any]] = {}
        self.in_error = 0

    def unpack(self, data: Any) -> Any:
        return msgpack.unpackb(
            data, raw=False, strict_map_key=False, unicode_errors="surrogatepass", ext_hook=self.ext
        )

    def ext(self, code: int, data: bytes) -> Any:
        read = _READERS.get(code)
        if read is None:
            raise corrupt(f"extension {code} is unknown")
        return read(self, data)

    def fields(self, data: bytes, count: int, what: str) -> list[Any]:
        fields = self.unpack(data)
        if type(fields) is not list or len(fields) != count:
            raise corrupt(f"a {what} has wrong fields")
        return fields

    def items(self, data: bytes, what: str) -> list[Any]:
        items = self.unpack(data)
        if type(items) is not list:
            raise corrupt(f"a {what} holds no array")
        return items

    def buffer(self, data: bytes) -> memoryview:
        return self.header.buffer(_index(data))


def _index(data: bytes) -> int:
    if len(data) != 4:
        raise corrupt("a number in an extension is cut off")
    return int.from_bytes(data, "little")


def _read_handle(d: Decoder, data: bytes) -> Any:
    index, meta = d.fields(data, 2, "ACTOR_HANDLE")
    return d.ctx.make_handle(meta, None if index is None else d.header.ref(index))


def _read_nd_array(d: Decoder, data: bytes) -> Any:
    dtype, shape, index, _kind = d.fields(data, 4, "NDARRAY")
    size = v.element_bytes(dtype)
    if size is None or type(shape) is not list:
        raise corrupt(f"NDARRAY of {dtype}")
    buffer = d.header.buffer(index)
    total = size
    for length in shape:
        if type(length) is not int or length < 0:
            raise corrupt("NDARRAY of a wrong shape")
        total *= length
    if total != buffer.nbytes:
        raise corrupt("NDARRAY of a wrong size")
    try:
        import numpy
    except ImportError:
        letter = v.ELEMENT_TYPES.get(dtype, (0, ""))[1]
        return buffer.cast(letter, shape) if letter and 0 not in shape else buffer  # type: ignore[call-overload]
    return numpy.frombuffer(buffer, dtype=dtype).reshape(shape)


def _read_np_scalar(d: Decoder, data: bytes) -> Any:
    end = 1 + (data[0] if data else 0)
    dtype = data[1:end].decode("ascii", "replace")
    if v.element_bytes(dtype) != len(data) - end:
        raise corrupt(f"NPSCALAR of {dtype}")
    try:
        import numpy
    except ImportError:
        letter = v.ELEMENT_TYPES.get(dtype, (0, ""))[1]
        return struct.unpack(f"<{letter}", data[end:])[0] if letter else data[end:]
    return numpy.frombuffer(data, dtype=dtype, offset=end)[0]


def _read_arrow(d: Decoder, data: bytes) -> Any:
    index, kind = d.fields(data, 2, "ARROW")
    buffer = d.header.buffer(index)
    try:
        import pyarrow
        import pyarrow.ipc as ipc
    except ImportError:
        return buffer
    try:
        with ipc.open_stream(pyarrow.py_buffer(buffer)) as reader:
            if kind == v.ARROW_RECORD_BATCH:
                return reader.read_next_batch()
            return reader.read_all()
    except (pyarrow.ArrowException, StopIteration, OSError) as error:
        raise corrupt(f"an Arrow stream cannot be read: {error}") from error


def _read_py_object(d: Decoder, data: bytes) -> Any:
    part, index, _name = d.fields(data, 3, "PYOBJ")
    try:
        if part not in d.groups:
            d.groups[part] = load_group(d.header, part, d.ctx)
    except CorruptValueError:
        raise
    except RayError:
        if d.in_error:
            return None
        raise
    objects = d.groups[part]
    if type(index) is not int or not 0 <= index < len(objects):
        raise corrupt(f"there is no opaque object {index}")
    return objects[index]


def _read_date(d: Decoder, data: bytes) -> datetime:
    if len(data) != 8:
        raise corrupt("a DATE has 8 bytes")
    return _EPOCH + timedelta(microseconds=int.from_bytes(data, "little", signed=True))


def _read_set(d: Decoder, data: bytes) -> Any:
    items = d.items(data, "SET")
    try:
        return set(items)
    except TypeError:  # members that Python cannot hash
        return items


def _read_frozen_set(d: Decoder, data: bytes) -> Any:
    return frozenset(d.items(data, "SET"))


def _read_map(d: Decoder, data: bytes) -> Any:
    items = d.items(data, "MAP")
    if len(items) % 2:
        raise corrupt("a MAP has a key without a value")
    pairs = list(zip(items[::2], items[1::2], strict=True))
    try:
        return dict(pairs)
    except TypeError:  # keys that Python cannot hash
        return pairs


def _read_error(d: Decoder, data: bytes) -> Any:
    d.in_error += 1
    fields = d.unpack(data)
    d.in_error -= 1
    if type(fields) is not dict:
        raise corrupt("an ERROR holds no record")
    return error_of_fields(fields)


def _read_complex(d: Decoder, data: bytes) -> complex:
    if len(data) != 16:
        raise corrupt("a COMPLEX has 16 bytes")
    return complex(*struct.unpack("<dd", data))


def _read_function(d: Decoder, data: bytes) -> JsFunction:
    envelope = bytes(d.buffer(data))
    return JsFunction(envelope, [d.ctx.make_ref(ref) for ref in envelope_refs(envelope)])


def _read_codec(d: Decoder, data: bytes) -> Any:
    tag, payload = d.fields(data, 2, "CODEC")
    codec = v.codec_of_tag(tag) if isinstance(tag, str) else None
    if codec is not None:
        return codec.decode(payload)
    if tag == "polyray/ObjectRefStream@1":
        from polyray.received_stream import ReceivedStream

        return ReceivedStream(payload)
    return CodecValue(str(tag), payload)


def _read_reg_exp(d: Decoder, data: bytes) -> JsRegExp:
    source, flags = d.fields(data, 2, "REGEXP")
    return JsRegExp(str(source), str(flags))


def _read_big_int(d: Decoder, data: bytes) -> int:
    if not data:
        raise corrupt("a BIGINT has no bytes")
    return int.from_bytes(data, "little", signed=True)


_READERS: dict[int, Callable[[Decoder, bytes], Any]] = {
    v.EXT_REF: lambda d, x: d.ctx.make_ref(d.header.ref(_index(x))),
    v.EXT_ARG_REF: lambda d, x: d.ctx.arg_value(d.header.ref(_index(x))),
    v.EXT_ACTOR_HANDLE: _read_handle,
    v.EXT_BUFFER: lambda d, x: bytes(d.buffer(x)),
    v.EXT_ND_ARRAY: _read_nd_array,
    v.EXT_NP_SCALAR: _read_np_scalar,
    v.EXT_ARROW: _read_arrow,
    v.EXT_PY_OBJECT: _read_py_object,
    v.EXT_JS_OBJECT: lambda d, x: JsObject(bytes(d.buffer(x))),
    v.EXT_BIG_INT: _read_big_int,
    v.EXT_DATE: _read_date,
    v.EXT_SET: _read_set,
    v.EXT_FROZEN_SET: _read_frozen_set,
    v.EXT_MAP: _read_map,
    v.EXT_TUPLE: lambda d, x: tuple(d.items(x, "TUPLE")),
    v.EXT_ERROR: _read_error,
    v.EXT_UNDEFINED: lambda d, x: None,
    v.EXT_REG_EXP: _read_reg_exp,
    v.EXT_COMPLEX: _read_complex,
    v.EXT_FUNCTION: _read_function,
    v.EXT_CODEC: _read_codec,
}

# What msgpack and the readers raise over bytes that break the format.
BROKEN = (
    msgpack.UnpackException,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    struct.error,
)
