# SPDX-License-Identifier: Apache-2.0
"""The envelope: the one byte format of every stored value, argument list and result.

The format is in docs/values.md. Owns the header layout, the finished but unwritten form (`Encoded`)
and the checked header reader. Invariants: (1) buffers start at multiples of 64 from the envelope's
start; (2) the first `arg_ref_count` refs are the top-level ref arguments; (3) a reader never trusts
a length or an offset that it has not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from polyray import _native
from polyray.exceptions import CorruptValueError
from polyray.ids import ID_BYTES

VERSION = 1
HEADER_BYTES = 16
FLAG_ERROR = 1
FLAG_ARROW = 2
_KNOWN_FLAGS = FLAG_ERROR | FLAG_ARROW
_ALIGN = 64
_BIG_BYTES = 1024 * 1024  # copied without the GIL
_HEADER = struct.Struct("<BBHIII")
_ENTRY = struct.Struct("<QQ")


def corrupt(why: str) -> CorruptValueError:
    """Why bytes are not an envelope."""
    return CorruptValueError(f"[value corrupt] {why}. Check that both sides run the same version.")


class Part:
    """An out-of-band part that writes itself, such as an Arrow stream."""

    __slots__ = ("size", "write_into")

    def __init__(self, size: int, write_into: Callable[[memoryview], None]) -> None:
        self.size = size
        self.write_into = write_into


class Encoded:
    """A value in envelope form, before it is copied to where it will live.

    Holds views on the caller's buffers.
    """

    __slots__ = ("arg_ref_count", "body", "flags", "parts", "refs", "size")

    def __init__(
        self,
        body: bytes,
        flags: int = 0,
        refs: Sequence[bytes] = (),
        parts: Sequence[memoryview | Part] = (),
        arg_ref_count: int = 0,
    ) -> None:
        self.body = body
        self.flags = flags
        self.refs = refs
        self.parts = parts
        self.arg_ref_count = arg_ref_count
        size = HEADER_BYTES + len(body)
        if refs or parts:
            size += ID_BYTES * len(refs) + _ENTRY.size * len(parts)
            for part in parts:
                size = -(-size // _ALIGN) * _ALIGN
                size += part.nbytes if isinstance(part, memoryview) else part.size
        self.size = size

    def _head(self) -> bytes:
        header = _HEADER.pack(
            VERSION, self.flags, self.arg_ref_count, len(self.body), len(self.parts), len(self.refs)
        )
        if not self.refs and not self.parts:
            return header + self.body
        at = (
            HEADER_BYTES
            + _ENTRY.size * len(self.parts)
            + ID_BYTES * len(self.refs)
            + len(self.body)
        )
        entries = []
        for part in self.parts:
            at = -(-at // _ALIGN) * _ALIGN
            size = part.nbytes if isinstance(part, memoryview) else part.size
            entries.append(_ENTRY.pack(at, size))
            at += size
        return b"".join((header, *entries, *self.refs, self.body))

    def write_into(self, target: memoryview) -> None:
        """Write the envelope. REQUIRES: a writable byte view of at least `size` bytes."""
        if target.nbytes < self.size:
            raise ValueError(f"the envelope needs {self.size} bytes")
        head = self._head()
        at = len(head)
        target[:at] = head
        for part in self.parts:
            start = -(-at // _ALIGN) * _ALIGN
            target[at:start] = bytes(start - at)
            if isinstance(part, memoryview):
                at = start + part.nbytes
                if part.nbytes < _BIG_BYTES:
                    target[start:at] = part
                else:
                    _native.copy_into(target, start, part)
            else:
                at = start + part.size
                part.write_into(target[start:at])

    def to_bytes(self) -> bytes:
        """The envelope as bytes of its own."""
        if not self.parts:
            return self._head()
        data = bytearray(self.size)
        self.write_into(memoryview(data))
        return bytes(data)


class Header:
    """A checked header of an envelope, with access to its tables."""

    __slots__ = (
        "arg_ref_count",
        "body_end",
        "body_start",
        "buffer_count",
        "data",
        "flags",
        "ref_count",
    )

    def __init__(self, data: memoryview) -> None:
        if data.nbytes < HEADER_BYTES:
            raise corrupt(f"{data.nbytes} bytes are no envelope")
        version, flags, arg_ref_count, body, buffers, refs = _HEADER.unpack_from(data)
        if version != VERSION:
            raise corrupt(f"envelope version {version} is unknown")
        if flags & ~_KNOWN_FLAGS:
            raise corrupt(f"envelope flags {flags} are unknown")
        self.data = data
        self.flags = flags
        self.arg_ref_count = arg_ref_count
        self.buffer_count = buffers
        self.ref_count = refs
        self.body_start = HEADER_BYTES + _ENTRY.size * buffers + ID_BYTES * refs
        self.body_end = self.body_start + body
        if self.body_end > data.nbytes:
            raise corrupt("the envelope is cut off")
        if arg_ref_count > refs:
            raise corrupt("more argument refs than refs")

    def buffer(self, index: Any) -> memoryview:
        """The buffer of a table entry, as a view."""
        if type(index) is not int or not 0 <= index < self.buffer_count:
            raise corrupt(f"there is no buffer {index}")
        start, size = _ENTRY.unpack_from(self.data, HEADER_BYTES + _ENTRY.size * index)
        if start % _ALIGN or start < self.body_end or start + size > self.data.nbytes:
            raise corrupt(f"buffer {index} lies outside of the envelope")
        return self.data[start : start + size]

    def ref(self, index: Any) -> bytes:
        """The ref of a table entry."""
        if type(index) is not int or not 0 <= index < self.ref_count:
            raise corrupt(f"there is no ref {index}")
        at = HEADER_BYTES + _ENTRY.size * self.buffer_count + ID_BYTES * index
        return bytes(self.data[at : at + ID_BYTES])


def byte_view(data: Any) -> memoryview:
    """A flat byte view of anything with a buffer."""
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def envelope_refs(data: Any) -> list[bytes]:
    """All refs inside an envelope."""
    header = Header(byte_view(data))
    return [header.ref(i) for i in range(header.ref_count)]


def envelope_arg_refs(data: Any) -> list[bytes]:
    """The refs given as top-level arguments: the receiver needs their values first."""
    header = Header(byte_view(data))
    return [header.ref(i) for i in range(header.arg_ref_count)]


def is_error_envelope(data: Any) -> bool:
    """True when the value is an error that `get` raises."""
    return bool(Header(byte_view(data)).flags & FLAG_ERROR)
