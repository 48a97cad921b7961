# SPDX-License-Identifier: Apache-2.0
"""DAGContext: settings of compiled graphs in this process, from RAY_CGRAPH_* variables or code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def _number(name: str, default: float) -> float:
    value = float(os.environ.get(f"RAY_CGRAPH_{name}", default))
    return int(value) if value == int(value) and not isinstance(default, float) else value


@dataclass
class DAGContext:
    """Times are seconds. Only the bounds on results have an effect here."""

    submit_timeout: float = field(default_factory=lambda: _number("submit_timeout", 10))
    get_timeout: float = field(default_factory=lambda: _number("get_timeout", 10))
    teardown_timeout: float = field(default_factory=lambda: _number("teardown_timeout", 30))
    read_iteration_timeout: float = field(
        default_factory=lambda: _number("read_iteration_timeout_s", 0.1)
    )
    buffer_size_bytes: int = field(
        default_factory=lambda: int(_number("buffer_size_bytes", 1_000_000))
    )
    max_inflight_executions: int = field(
        default_factory=lambda: int(_number("max_inflight_executions", 10))
    )
    max_buffered_results: int = field(
        default_factory=lambda: int(_number("max_buffered_results", 1000))
    )
    overlap_gpu_communication: bool = False

    def __post_init__(self) -> None:
        if self.read_iteration_timeout > self.get_timeout:
            raise ValueError(
                f"RAY_CGRAPH_read_iteration_timeout_s ({self.read_iteration_timeout}) must be less "
                f"than or equal to RAY_CGRAPH_get_timeout ({self.get_timeout})"
            )

    @staticmethod
    def get_current() -> DAGContext:
        """The settings of this process."""
        global _current
        if _current is None:
            _current = DAGContext()
        return _current


_current: DAGContext | None = None
