# SPDX-License-Identifier: Apache-2.0
"""Object ids: 16 bytes, u32 node tag | u32 entry index | u64 unique, little-endian.

Inside Python an id is those bytes; in text it is their lowercase hex. Below the functions are Ray's
id classes, for programs that name them.
"""

from __future__ import annotations

import builtins
import os
import struct
from typing import Any, NamedTuple

ID_BYTES = 16
_ID = struct.Struct("<IIQ")


class IdParts(NamedTuple):
    """The three fields of an object id."""

    node_tag: int
    entry_index: int
    unique: int


def id_parts(object_id: bytes) -> IdParts:
    """Split an id into its fields."""
    return IdParts(*_ID.unpack(object_id))


def id_of_parts(node_tag: int, entry_index: int, unique: int) -> bytes:
    """Join the fields of an id."""
    return _ID.pack(node_tag, entry_index, unique)


def id_of_hex(text: str) -> bytes:
    """The id of 32 hex characters; raises ValueError for anything else."""
    object_id = bytes.fromhex(text)
    if len(object_id) != ID_BYTES:
        raise ValueError(f"not an object id: {text!r}")
    return object_id


class BaseID:
    """Base of the id classes: some bytes with a text form. Ids are values: equal when class and
    bytes are, usable as keys, safe to pickle."""

    _SIZE = ID_BYTES
    __slots__ = ("_bytes",)

    def __init__(self, id: bytes) -> None:
        if not isinstance(id, bytes):
            raise TypeError(f"Unsupported type: {type(id)}, expected bytes")
        if len(id) != self._SIZE:
            raise ValueError(f"ID string needs to have length {self._SIZE}, got {len(id)}")
        self._bytes = id

    @classmethod
    def from_binary(cls, id_bytes: bytes) -> Any:
        """The id of those bytes."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls, hex_id: str) -> Any:
        """The id of a hexadecimal text."""
        return cls(bytes.fromhex(hex_id))

    @classmethod
    def nil(cls) -> Any:
        """The id that means none."""
        return cls(b"\xff" * cls._SIZE)

    @classmethod
    def from_random(cls) -> Any:
        """An id that nobody else has."""
        return cls(os.urandom(cls._SIZE))

    @classmethod
    def size(cls) -> int:
        """How many bytes ids of this class have."""
        return cls._SIZE

    def binary(self) -> bytes:
        """The bytes."""
        return self._bytes

    def hex(self) -> str:
        """The bytes as lowercase hexadecimal text."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """True when it means none."""
        return self._bytes == b"\xff" * self._SIZE

    def __bytes__(self) -> bytes:
        return self._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._bytes == other._bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> Any:
        return type(self), (self._bytes,)


class JobID(BaseID):
    """A job: a driver and what it started. Four bytes, little-endian."""

    _SIZE = 4
    __slots__ = ()

    @classmethod
    def from_int(cls, value: builtins.int) -> JobID:
        """The id of a job's number."""
        return cls(value.to_bytes(4, "little"))

    def int(self) -> builtins.int:
        """The job's number."""
        return int.from_bytes(self._bytes, "little")


class TaskID(BaseID):
    """A task: the id of its first return."""

    __slots__ = ()

    def job_id(self) -> JobID:
        """The job of this process, whose task it is."""
        return _job()

    def actor_id(self) -> ActorID:
        """Which actor ran it is not part of the id: nil."""
        found: ActorID = ActorID.nil()
        return found


class ActorID(BaseID):
    """An actor: the id of its lifetime object."""

    __slots__ = ()

    @property
    def job_id(self) -> JobID:
        """The job of this process."""
        return _job()


class UniqueID(BaseID):
    """Base of the ids that are random."""

    _SIZE = 28
    __slots__ = ()


class NodeID(UniqueID):
    """A node."""

    __slots__ = ()


class WorkerID(UniqueID):
    """A worker process."""

    __slots__ = ()


class FunctionID(UniqueID):
    """A remote function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """An actor class."""

    __slots__ = ()


class ClusterID(UniqueID):
    """A cluster."""

    __slots__ = ()


class PlacementGroupID(BaseID):
    """A placement group."""

    _SIZE = 18
    __slots__ = ()


def _job() -> JobID:
    from polyray import runtime

    return JobID.from_int(runtime.current().job)
