# SPDX-License-Identifier: Apache-2.0
"""The door of the value model: values, argument lists and errors to envelopes and back (docs/values.md).

Synchronous, touches no store; the caller copies envelopes to where they live. numpy and pyarrow are never imported
unless the value or the payload needs them. Threads: every call takes an encoder of its own from an idle list.
Invariants: (1) exact types only follow the plain rules, everything else is pickled; (2) a decoded buffer is a
read-only view on the envelope; (3) bytes of any content give a value or a typed error.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack

from polyray import values as v
from polyray.envelope import (
    FLAG_ARROW,
    FLAG_ERROR,
    Encoded,
    Header,
    Part,
    byte_view,
    corrupt,
    envelope_arg_refs,
    envelope_refs,
    is_error_envelope,
)
from polyray.errors import error_fields, error_of_fields, task_error_of
from polyray.exceptions import CorruptValueError, RayError, UnserializableException, make_error
from polyray.limits import INLINE_BUFFER_BYTES, MAX_REF_ARGS
from polyray.pickling import PickleGroup, group_bytes, load_group
from polyray.values import (
    CodecValue,
    DecodeContext,
    EncodeContext,
    HandleForm,
    JsFunction,
    JsObject,
    JsRegExp,
    deregister_serializer,
    register_codec,
    register_serializer,
    type_name,
)

__all__ = [
    "CodecValue",
    "DecodeContext",
    "EncodeContext",
    "Encoded",
    "HandleForm",
    "JsFunction",
    "JsObject",
    "JsRegExp",
    "PLAIN_CONTEXT",
    "decode",
    "decode_args",
    "deregister_serializer",
    "encode",
    "encode_args",
    "encode_error",
    "encode_task_error",
    "envelope_arg_refs",
    "envelope_refs",
    "is_error_envelope",
    "register_codec",
    "register_serializer",
]

_Ext = msgpack.ExtType
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICRO = timedelta(microseconds=1)
_MAX_NESTED_EXT = 64
_LIFT_ITEMS = 64
_BYTES = frozenset((bytes, bytearray, memoryview))
_PLAIN = frozenset((int, float, str, bool, type(None)))


def _new_packer(default: Callable[[Any], Any] | None) -> msgpack.Packer:
    return msgpack.Packer(
        default=default,
        strict_types=True,
        use_bin_type=True,
        unicode_errors="surrogatepass",
        buf_size=4096,
    )


_pack_plain = _new_packer(None).pack


class PlainContext:
    """A context for plain data: no refs and no handles."""

    def ref_id_of(self, value: object) -> bytes | None:
        """Nothing is a ref."""
        return None

    def handle_of(self, value: object) -> HandleForm | None:
        """Nothing is a handle."""
        return None

    def make_ref(self, object_id: bytes) -> Any:
        """A ref may not be here."""
        raise corrupt(f"a ref ({object_id.hex()}) where none may be")

    def make_handle(self, meta: Any, ref: bytes | None) -> Any:
        """A handle may not be here."""
        raise corrupt("an actor handle where none may be")

    def arg_value(self, object_id: bytes) -> Any:
        """A ref may not be here."""
        return self.make_ref(object_id)


PLAIN_CONTEXT = PlainContext()


class _NotPlainError(Exception):
    """This root must travel as one opaque payload."""


class _Encoder:
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
            raise _NotPlainError
        if depth == len(self.packers):
            self.packers.append(_new_packer(self.default))
        self.depth = depth + 1
        data: bytes = self.packers[depth].pack(value)
        self.depth = depth
        return data

    def root(self, value: Any, name: str) -> bytes:
        """The body of a root value; one that is not plain becomes one opaque payload."""
        mark = (len(self.refs), len(self.parts), len(self.groups), self.group)
        try:
            return self.pack(self.lift(value))
        except (_NotPlainError, RecursionError):
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
        else:
            form = None
        return self.opaque(value) if form is None else form

    def opaque(self, value: Any) -> Any:
        if self.group is None:
            self.group = self.new_group()
        group = self.group
        return _Ext(v.EXT_PY_OBJECT, _pack_plain([group.part, group.add(value), type_name(value)]))

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
        """An exception in a group of its own, so that one that cannot be pickled spoils nothing else."""
        probe = PickleGroup(0)
        probe.add(error)
        try:
            probe.dump(self.ctx)
        except (
            Exception
        ):  # whatever the user's class raises: the error travels without its original
            return None
        group = self.new_group()
        return _Ext(v.EXT_PY_OBJECT, _pack_plain([group.part, group.add(error), type_name(error)]))

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


def _is_sendable(encoder: _Encoder, value: Any) -> bool:
    return isinstance(value, BaseException) or type(value) in _PLAIN


def _big_int(encoder: _Encoder, value: int) -> Any:
    magnitude = -value - 1 if value < 0 else value
    return _Ext(
        v.EXT_BIG_INT, value.to_bytes(magnitude.bit_length() // 8 + 1, "little", signed=True)
    )


def _datetime(encoder: _Encoder, value: datetime) -> Any:
    if value.tzinfo is not timezone.utc:
        return encoder.opaque(value)
    return _Ext(v.EXT_DATE, ((value - _EPOCH) // _MICRO).to_bytes(8, "little", signed=True))


def _js_object(encoder: _Encoder, value: JsObject) -> Any:
    return _Ext(v.EXT_JS_OBJECT, _u32(encoder.part(value, lambda: memoryview(value.data))))


def _js_function(encoder: _Encoder, value: JsFunction) -> Any:
    for object_id in envelope_refs(value.envelope):
        encoder.ref(object_id)
    return _Ext(v.EXT_FUNCTION, _u32(encoder.part(value, lambda: memoryview(value.envelope))))


_WRITERS: dict[type, Callable[[_Encoder, Any], Any]] = {
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


def _numpy_form(encoder: _Encoder, value: Any) -> Any:
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
    return _Ext(v.EXT_ND_ARRAY, _pack_plain([dtype, list(value.shape), index, v.ND_NUMPY]))


def _arrow_form(encoder: _Encoder, value: Any) -> Any:
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
        with pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(target)) as sink:
            write(sink)

    def measure() -> Part:
        sink = pyarrow.MockOutputStream()
        write(sink)
        return Part(sink.size(), write_into)

    encoder.flags |= FLAG_ARROW
    return _Ext(v.EXT_ARROW, _pack_plain([encoder.part(value, measure), kind]))


def _refusal(
    encoder: _Encoder, group: PickleGroup, name: str, root: Any, error: Exception
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
        f"[cannot be sent] {path}: a {type_name(culprit)} cannot be pickled: {type(error).__name__}: {error}.",
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


_idle: list[_Encoder] = []


def _take(ctx: EncodeContext) -> _Encoder:
    try:
        encoder = _idle.pop()
    except IndexError:
        encoder = _Encoder()
    encoder.reset(ctx)
    return encoder


def _release(encoder: _Encoder) -> None:
    encoder.reset(PLAIN_CONTEXT)
    if len(_idle) < 8:
        _idle.append(encoder)


def _encode(value: Any, ctx: EncodeContext, flags: int, name: str) -> Encoded:
    encoder = _take(ctx)
    body = encoder.root(value, name)
    encoded = encoder.finish(body, flags, name, value)
    _release(encoder)
    return encoded


def encode(value: Any, ctx: EncodeContext = PLAIN_CONTEXT, name: str = "value") -> Encoded:
    """Encode a value. Raises UnserializableException, naming the path, for what cannot be sent."""
    if type(value) in _PLAIN:
        try:
            return Encoded(_pack_plain(value))
        except OverflowError:  # an int of more than 64 bits
            pass
    return _encode(value, ctx, 0, name)


def encode_error(error: BaseException, ctx: EncodeContext = PLAIN_CONTEXT) -> Encoded:
    """Encode an error that `get` shall raise."""
    encoder = _take(ctx)
    body = encoder.pack(encoder.error(error))
    encoded = encoder.finish(body, FLAG_ERROR, "error", error)
    _release(encoder)
    return encoded


def encode_task_error(
    raised: BaseException, ctx: EncodeContext = PLAIN_CONTEXT, **where: Any
) -> Encoded:
    """Encode what a task raised as the RayTaskError of its caller; `where` as in errors.task_error_of."""
    return encode_error(task_error_of(raised, **where), ctx)


def encode_args(
    args: Sequence[Any], kwargs: Mapping[str, Any] | None = None, ctx: EncodeContext = PLAIN_CONTEXT
) -> Encoded:
    """Encode the arguments of a call. Top-level refs become arguments that the receiver resolves."""
    encoder = _take(ctx)
    positional = [_arg_form(encoder, value) for value in args]
    named = (
        None if not kwargs else {key: _arg_form(encoder, value) for key, value in kwargs.items()}
    )
    arg_refs = len(encoder.refs)
    if arg_refs > MAX_REF_ARGS:
        raise make_error(
            "TABLE_FULL", f"a call takes at most {MAX_REF_ARGS} different refs as arguments"
        )
    packer = _new_packer(None)
    out = [packer.pack_array_header(2), packer.pack_array_header(len(positional))]
    root = {**{f"args[{i}]": value for i, value in enumerate(args)}, **(kwargs or {})}
    out.extend(encoder.root(value, f"args[{i}]") for i, value in enumerate(positional))
    if named is None:
        out.append(b"\xc0")
    else:
        out.append(packer.pack_map_header(len(named)))
        for key, value in named.items():
            out.append(_pack_plain(key))
            out.append(encoder.root(value, key))
    encoded = encoder.finish(b"".join(out), 0, "", root, arg_refs)
    _release(encoder)
    return encoded


def _arg_form(encoder: _Encoder, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    object_id = encoder.ctx.ref_id_of(value)
    return value if object_id is None else _Ext(v.EXT_ARG_REF, _u32(encoder.ref(object_id)))


class _Decoder:
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


def _read_handle(d: _Decoder, data: bytes) -> Any:
    index, meta = d.fields(data, 2, "ACTOR_HANDLE")
    return d.ctx.make_handle(meta, None if index is None else d.header.ref(index))


def _read_nd_array(d: _Decoder, data: bytes) -> Any:
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


def _read_np_scalar(d: _Decoder, data: bytes) -> Any:
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


def _read_arrow(d: _Decoder, data: bytes) -> Any:
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


def _read_py_object(d: _Decoder, data: bytes) -> Any:
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


def _read_date(d: _Decoder, data: bytes) -> datetime:
    if len(data) != 8:
        raise corrupt("a DATE has 8 bytes")
    return _EPOCH + timedelta(microseconds=int.from_bytes(data, "little", signed=True))


def _read_set(d: _Decoder, data: bytes) -> Any:
    items = d.items(data, "SET")
    try:
        return set(items)
    except TypeError:  # members that Python cannot hash
        return items


def _read_frozen_set(d: _Decoder, data: bytes) -> Any:
    return frozenset(d.items(data, "SET"))


def _read_map(d: _Decoder, data: bytes) -> Any:
    items = d.items(data, "MAP")
    if len(items) % 2:
        raise corrupt("a MAP has a key without a value")
    pairs = list(zip(items[::2], items[1::2], strict=True))
    try:
        return dict(pairs)
    except TypeError:  # keys that Python cannot hash
        return pairs


def _read_error(d: _Decoder, data: bytes) -> Any:
    d.in_error += 1
    fields = d.unpack(data)
    d.in_error -= 1
    if type(fields) is not dict:
        raise corrupt("an ERROR holds no record")
    return error_of_fields(fields)


def _read_complex(d: _Decoder, data: bytes) -> complex:
    if len(data) != 16:
        raise corrupt("a COMPLEX has 16 bytes")
    return complex(*struct.unpack("<dd", data))


def _read_function(d: _Decoder, data: bytes) -> JsFunction:
    envelope = bytes(d.buffer(data))
    return JsFunction(envelope, [d.ctx.make_ref(ref) for ref in envelope_refs(envelope)])


def _read_codec(d: _Decoder, data: bytes) -> Any:
    tag, payload = d.fields(data, 2, "CODEC")
    codec = v.codec_of_tag(tag) if isinstance(tag, str) else None
    return CodecValue(str(tag), payload) if codec is None else codec.decode(payload)


def _read_reg_exp(d: _Decoder, data: bytes) -> JsRegExp:
    source, flags = d.fields(data, 2, "REGEXP")
    return JsRegExp(str(source), str(flags))


def _read_big_int(d: _Decoder, data: bytes) -> int:
    if not data:
        raise corrupt("a BIGINT has no bytes")
    return int.from_bytes(data, "little", signed=True)


_READERS: dict[int, Callable[[_Decoder, bytes], Any]] = {
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
_BROKEN = (
    msgpack.UnpackException,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    struct.error,
)


def decode(data: Any, ctx: DecodeContext = PLAIN_CONTEXT) -> Any:
    """Decode an envelope. Buffers are read-only views on `data`. An error envelope gives the error as a value."""
    view = byte_view(data)
    header = Header(view if view.readonly else view.toreadonly())
    try:
        return _Decoder(header, ctx).unpack(header.data[header.body_start : header.body_end])
    except RayError:
        raise
    except _BROKEN as error:
        raise corrupt(f"{type(error).__name__}: {error}") from error


def decode_args(data: Any, ctx: DecodeContext = PLAIN_CONTEXT) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments of a call; `ctx.arg_value` gives the values of top-level refs."""
    body = decode(data, ctx)
    if type(body) is not list or len(body) != 2 or type(body[0]) is not list:
        raise corrupt("these are no arguments")
    kwargs = {} if body[1] is None else body[1]
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise corrupt("these are no keyword arguments")
    return body[0], kwargs
