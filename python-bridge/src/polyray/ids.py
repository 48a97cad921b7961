# SPDX-License-Identifier: Apache-2.0
"""Object ids: 16 bytes, u32 node tag | u32 entry index | u64 unique, little-endian.

Inside Python an id is those bytes; in text it is their lowercase hex. Pure functions.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

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
