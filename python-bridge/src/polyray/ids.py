# SPDX-License-Identifier: Apache-2.0
"""Ids: 16 bytes inside of the runtime (u32 node tag | u32 entry index | u64 unique, little-endian),
of Ray's sizes in programs.

An object is shown by 28 bytes: unique | node tag | entry index | ones | job | 1. A task by 24: the
same without the last four; for a method of an actor: unique | the actor's 16 bytes. Actors keep
their 16. The first form is told back by the native extension (objects.cc, which does the same).
"""

from __future__ import annotations

import builtins
import os
import struct
from typing import Any, NamedTuple

ID_BYTES = 16
OBJECT_BYTES = 28
_ID = struct.Struct("<IIQ")
_ONES = b"\xff" * 4
_NIL = b"\xff" * ID_BYTES


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


def task_bytes(task: bytes, actor: bytes | None, job: int) -> bytes:
    """The 24 bytes that show a task: from its id inside of the runtime, that of the actor whose
    method it is (None: no method), and its job."""
    if actor is not None:
        return task[8:] + actor
    if task == _NIL:
        return b"\xff" * 20 + job.to_bytes(4, "little")
    return task[8:] + task[:8] + _ONES + job.to_bytes(4, "little")


def creation_bytes(actor: bytes) -> bytes:
    """The 24 bytes that show the task that makes an actor."""
    return b"\xff" * 8 + actor


def object_bytes(object_id: bytes, job: int) -> bytes:
    """The 28 bytes that show an object."""
    return task_bytes(object_id, None, job) + b"\x01\x00\x00\x00"


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
    def from_hex(cls, hex_id: str | bytes) -> Any:
        """The id of a hexadecimal text; nil for a text that is none, as in Ray."""
        try:
            found = bytes.fromhex(hex_id if isinstance(hex_id, str) else hex_id.decode())
        except ValueError:
            found = b""
        return cls(found) if len(found) == cls._SIZE else cls.nil()

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

    def redis_shard_hash(self) -> builtins.int:
        """A number of 64 bits that the bytes give."""
        import hashlib

        return int.from_bytes(hashlib.blake2b(self._bytes, digest_size=8).digest(), "little")

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
    """A task: 8 bytes of its own, then the 16 of its actor (for a task that is no method: what else
    its first return is known by, and the job)."""

    _SIZE = 24
    __slots__ = ()

    def job_id(self) -> JobID:
        """The job: that of the id, for a method's task that of this process."""
        return self._no_actor_job() or _job()

    def actor_id(self) -> ActorID:
        """The actor whose method it is; else ones and the job."""
        job = self._no_actor_job()
        return ActorID(self._bytes[8:]) if job is None else ActorID(b"\xff" * 12 + job.binary())

    def _no_actor_job(self) -> JobID | None:
        return JobID(self._bytes[20:]) if self._bytes[16:20] == _ONES else None

    @classmethod
    def for_driver_task(cls, job_id: JobID) -> TaskID:
        """The id that stands for a driver."""
        return cls(b"\xff" * 20 + job_id.binary())

    @classmethod
    def for_fake_task(cls, job_id: JobID) -> TaskID:
        """An id of no task, of that job."""
        return cls(os.urandom(16) + _ONES + job_id.binary())

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> TaskID:
        """The id of the task that makes an actor."""
        return cls(creation_bytes(actor_id.binary()))


class ActorID(BaseID):
    """An actor: the id of its lifetime object."""

    __slots__ = ()

    @property
    def job_id(self) -> JobID:
        """The job: of an id that names none, that of this process."""
        return JobID(self._bytes[12:]) if self._bytes[:12] == b"\xff" * 12 else _job()

    @classmethod
    def of(
        cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: builtins.int
    ) -> ActorID:
        """An id that these three give."""
        import hashlib

        seed = parent_task_id.binary() + parent_task_counter.to_bytes(8, "little")
        return cls(hashlib.blake2b(seed, digest_size=12).digest() + job_id.binary())


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

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """A new id that names a job."""
        return cls(os.urandom(14) + job_id.binary())


def _job() -> JobID:
    from polyray import runtime

    return JobID.from_int(runtime.current().job)
