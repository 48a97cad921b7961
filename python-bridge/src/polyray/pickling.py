# SPDX-License-Identifier: Apache-2.0
"""Opaque Python payloads: all opaque objects of one value in one pickle.

Protocol 5, buffers out of band. The pickle's part starts with u32 buffer count, u32 ref count, the
buffer numbers and the ref numbers, so that the other language can hand the payload on without
reading the pickle. Refs and handles inside are numbers into that list. Pickles are read only from
peers that the runtime has authenticated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextvars import ContextVar
from io import BytesIO
from typing import TYPE_CHECKING, Any

from polyray.envelope import Header, corrupt, envelope_refs
from polyray.exceptions import RayError, RaySystemError
from polyray.values import SERIALIZERS, DecodeContext, EncodeContext, JsFunction

if TYPE_CHECKING:
    import pickle
    from collections.abc import Sequence

_IN_BAND_BYTES = 256
_pickler_class: Any = None
# Whom the refs of the pickle belong to that is being read here, and their ids.
_restoring: ContextVar[tuple[DecodeContext, list[bytes]] | None] = ContextVar(
    "polyray_restoring", default=None
)


class PickleGroup:
    """The opaque objects of one value, collected while it is encoded."""

    __slots__ = ("_index", "objects", "part", "refs")

    def __init__(self, part: int) -> None:
        self.part = part
        self.objects: list[Any] = []
        self.refs: list[bytes] = []
        self._index: dict[int, int] = {}

    def add(self, value: Any) -> int:
        """Number of an object in the pickled list; the same object has one number."""
        index = self._index.get(id(value))
        if index is None:
            index = self._index[id(value)] = len(self.objects)
            self.objects.append(value)
        return index

    def ref_number(self, object_id: bytes) -> int:
        """Number of a ref in this group."""
        if object_id in self.refs:
            return self.refs.index(object_id)
        self.refs.append(object_id)
        return len(self.refs) - 1

    def dump(self, ctx: EncodeContext) -> tuple[bytes, list[memoryview]]:
        """Pickle the list; gives the pickle and its buffers."""
        buffers: list[memoryview] = []

        def keep(buffer: pickle.PickleBuffer) -> bool:
            try:
                raw = buffer.raw()
            except BufferError:  # not contiguous
                return True
            if raw.nbytes < _IN_BAND_BYTES:
                return True
            buffers.append(raw)
            return False

        out = BytesIO()
        _pickler()(out, ctx, self, keep).dump(self.objects)
        return out.getvalue(), buffers


def group_bytes(dumped: bytes, buffer_numbers: Sequence[int], ref_numbers: Sequence[int]) -> bytes:
    """The part of a group: its tables and then the pickle."""
    numbers = (len(buffer_numbers), len(ref_numbers), *buffer_numbers, *ref_numbers)
    return struct.pack(f"<{len(numbers)}I", *numbers) + dumped


def load_group(header: Header, part: Any, ctx: DecodeContext) -> list[Any]:
    """Read the objects of a group; buffers are views on the envelope."""
    data = header.buffer(part)
    if data.nbytes < 8:
        raise corrupt("a pickle group is cut off")
    buffer_count, ref_count = struct.unpack_from("<II", data)
    start = 8 + 4 * (buffer_count + ref_count)
    if start > data.nbytes:
        raise corrupt("a pickle group is cut off")
    numbers = struct.unpack_from(f"<{buffer_count + ref_count}I", data, 8)
    buffers = [header.buffer(number) for number in numbers[:buffer_count]]
    refs = [header.ref(number) for number in numbers[buffer_count:]]
    import pickle

    outer = _restoring.set((ctx, refs))
    try:
        objects = pickle.loads(data[start:], buffers=buffers)
    except RayError:
        raise
    except Exception as error:  # a class that this process cannot import or build
        message = f"[system] a Python object cannot be read here: {type(error).__name__}: {error}."
        raise RaySystemError(message, cause=error) from error
    finally:
        _restoring.reset(outer)
    if not isinstance(objects, list):
        raise corrupt("a pickle group holds no list")
    return objects


def restore_ref(number: int) -> Any:
    """Called by a pickle: the ref of that number."""
    ctx, refs = _frame()
    return ctx.make_ref(refs[number])


def restore_handle(number: int, meta: Any) -> Any:
    """Called by a pickle: the actor handle with that ref."""
    ctx, refs = _frame()
    return ctx.make_handle(meta, None if number < 0 else refs[number])


def _frame() -> tuple[Any, list[bytes]]:
    frame = _restoring.get()
    if frame is None:
        raise RaySystemError("[system] a pickle with refs was read outside of the runtime.")
    return frame


def _restore_custom(deserializer: Callable[[Any], Any], plain: Any) -> Any:
    return deserializer(plain)


def _pickler() -> Any:
    global _pickler_class
    if _pickler_class is None:
        _pickler_class = _make_pickler()
    return _pickler_class


def _make_pickler() -> Any:
    import cloudpickle

    class GroupPickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Pickles by cloudpickle; refs, handles and registered classes take their own ways."""

        def __init__(self, out: BytesIO, ctx: EncodeContext, group: PickleGroup, keep: Any) -> None:
            super().__init__(out, protocol=5, buffer_callback=keep)
            self._ctx = ctx
            self._group = group

        def reducer_override(self, obj: Any) -> Any:
            object_id = self._ctx.ref_id_of(obj)
            if object_id is not None:
                return restore_ref, (self._group.ref_number(object_id),)
            handle = self._ctx.handle_of(obj)
            if handle is not None:
                ref, meta = handle
                return restore_handle, (-1 if ref is None else self._group.ref_number(ref), meta)
            cls = type(obj)
            if cls in SERIALIZERS:
                serializer, deserializer = SERIALIZERS[cls]
                return _restore_custom, (deserializer, serializer(obj))
            if cls is JsFunction:
                for inner in envelope_refs(obj.envelope):
                    self._group.ref_number(inner)
            return super().reducer_override(obj)

    return GroupPickler
