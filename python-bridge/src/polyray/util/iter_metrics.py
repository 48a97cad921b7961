# SPDX-License-Identifier: Apache-2.0
"""Numbers that the functions of a local iterator share."""

from __future__ import annotations

import collections
from typing import Any

from polyray.util.timer import _Timer


class MetricsContext:
    """Counters, timers and other values; `current_actor` is where the current item came from."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = collections.defaultdict(int)
        self.timers: dict[str, _Timer] = collections.defaultdict(_Timer)
        self.info: dict[str, Any] = {}
        self.current_actor: Any = None

    def save(self) -> dict[str, Any]:
        """The counters and values as plain data."""
        return {"counters": dict(self.counters), "info": dict(self.info), "timers": None}

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what save() gave."""
        self.counters.clear()
        self.counters.update(values["counters"])
        self.timers.clear()
        self.info = values["info"]


class SharedMetrics:
    """Where iterators find their metrics: a union points all its parents to one."""

    def __init__(
        self, metrics: MetricsContext | None = None, parents: list[SharedMetrics] | None = None
    ) -> None:
        self.parents = parents or []
        self.metrics = metrics or MetricsContext()
        self.set(self.metrics)

    def set(self, metrics: MetricsContext) -> None:
        """Use these metrics, in the parents too."""
        self.metrics = metrics
        for parent in self.parents:
            parent.set(metrics)

    def get(self) -> MetricsContext:
        """The metrics."""
        return self.metrics
