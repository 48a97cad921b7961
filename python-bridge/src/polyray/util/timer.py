# SPDX-License-Identifier: Apache-2.0
"""A stop watch with the mean of its last runs."""

from __future__ import annotations

import time
from collections import deque


class _Timer:
    """`with timer: ...` measures; belongs to one thread."""

    def __init__(self, window_size: int = 10) -> None:
        self._samples: deque[float] = deque(maxlen=window_size)
        self._units: deque[float] = deque(maxlen=window_size)
        self._start: float | None = None
        self._total_time = 0.0
        self.count = 0

    def __enter__(self) -> None:
        assert self._start is None, "concurrent updates not supported"
        self._start = time.time()

    def __exit__(self, *exc: object) -> None:
        assert self._start is not None
        self.push(time.time() - self._start)
        self._start = None

    def push(self, time_delta: float) -> None:
        """Add a duration in seconds."""
        self._samples.append(time_delta)
        self.count += 1
        self._total_time += time_delta

    def push_units_processed(self, n: float) -> None:
        """Add how much was done."""
        self._units.append(n)

    def has_units_processed(self) -> bool:
        """True after push_units_processed()."""
        return bool(self._units)

    @property
    def mean(self) -> float:
        """Mean seconds of the last runs."""
        return sum(self._samples) / len(self._samples) if self._samples else 0.0

    @property
    def mean_units_processed(self) -> float:
        """Mean amount of the last runs."""
        return sum(self._units) / len(self._units) if self._units else 0.0

    @property
    def mean_throughput(self) -> float:
        """Amount a second."""
        total = sum(self._samples)
        return sum(self._units) / total if total else 0.0
