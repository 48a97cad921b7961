# SPDX-License-Identifier: Apache-2.0
"""Backends and reductions of collective groups."""

from __future__ import annotations

from enum import Enum


class Backend:
    """Names of backends. Every one runs over the shared-memory store here."""

    NCCL = "NCCL"
    GLOO = "GLOO"
    SHM = "SHM"
    UNRECOGNIZED = "unrecognized"

    def __new__(cls, name: str) -> str:  # type: ignore[misc]
        """The backend of a name in any case; ValueError for others."""
        upper = name.upper()
        if upper == "TORCH_GLOO":
            return cls.GLOO
        if upper not in (cls.NCCL, cls.GLOO, cls.SHM):
            raise ValueError(f"Unrecognized backend: '{name}'. Only NCCL and GLOO are supported")
        return upper


class ReduceOp(Enum):
    """How values of several ranks become one."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3
