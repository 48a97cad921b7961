# SPDX-License-Identifier: Apache-2.0
"""Metrics of the program's own: counters, gauges, histograms with tags, as Ray's.

What is recorded reaches the node service a tenth of a second later, which sums it over all
processes of both languages: `polyray metrics` shows it, a scraping port serves it.
prometheus_text() gives what this process recorded. Thread rules: any thread.
"""

from __future__ import annotations

import bisect
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from polyray.exceptions import InvalidOptionError

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_lock = threading.Lock()
_sending = threading.Lock()  # held while a report is on its way; taken before _lock
_metrics: dict[str, Metric] = {}
_line_names: dict[str, str] = {}  # which metric writes the lines of a name

TagValues = tuple[str, ...]

_REPORT_S = 0.1
# What was recorded and not reported, by metric: for each tags the value and the counts of ranges.
_unsent: dict[Metric, dict[TagValues, tuple[float, list[int] | None]]] = {}
_timer: threading.Timer | None = None


def _after_fork() -> None:
    global _timer, _lock, _sending
    _timer = None
    _lock = threading.Lock()
    _sending = threading.Lock()
    _unsent.clear()  # the parent's, which reports it


os.register_at_fork(after_in_child=_after_fork)


def flush() -> None:
    """Report what was recorded until now; returns when it has arrived, also what another thread
    reports. Without a runtime it is kept until there is one."""
    with _sending:
        _flush()


def _flush() -> None:
    global _timer
    from polyray import runtime
    from polyray.exceptions import RayError

    with _lock:
        _timer = None
        if not runtime.is_attached() or not _unsent:
            return
        report = [
            {
                "name": metric._name,
                "kind": metric._kind,
                "description": metric._description,
                "tagKeys": list(metric._tag_keys),
                "boundaries": list(getattr(metric, "boundaries", ())),
                "cells": [
                    {"tags": list(tags), "value": value, "counts": counts}
                    for tags, (value, counts) in cells.items()
                ],
            }
            for metric, cells in _unsent.items()
        ]
        _unsent.clear()
    try:
        refused = runtime.current().request("metrics.report", metrics=report)["refused"]
    except RayError:
        return  # the runtime ended: with it its metrics
    if refused:
        import warnings

        warnings.warn(str(refused[0]), stacklevel=2)


def report_soon() -> None:
    """This process is attached now: what it recorded before is reported."""
    with _lock:
        if _unsent:
            _start_timer()


def _note(metric: Metric, tags: TagValues, value: float, counts: list[int] | None = None) -> None:
    # REQUIRES: _lock is held.
    cells = _unsent.setdefault(metric, {})
    old, old_counts = cells.get(tags, (0.0, None))
    if counts is not None and old_counts is not None:
        counts = [a + b for a, b in zip(counts, old_counts, strict=True)]
    cells[tags] = (value if isinstance(metric, Gauge) else old + value, counts)
    _start_timer()


def _start_timer() -> None:
    # REQUIRES: _lock is held.
    global _timer
    if _timer is None:
        _timer = threading.Timer(_REPORT_S, flush)
        _timer.daemon = True
        _timer.start()


class Metric:
    """Base of the metrics: a name, a description, the tags that records may carry.

    Raises ValueError for an empty or impossible name, TypeError for tag keys that are no tuple.
    """

    _kind = "untyped"
    _suffixes: tuple[str, ...] = ("",)

    def __init__(
        self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None
    ) -> None:
        if len(name) == 0:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"Invalid metric name: {name}. Metric names use letters, digits, _ and :, "
                "and do not begin with a digit."
            )
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._name = name
        self._description = description
        self._tag_keys: tuple[str, ...] = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        self._values: dict[TagValues, float] = {}
        with _lock:
            self._claim_lines()
            known = _metrics.get(name)
            if known is not None and type(known) is type(self):
                self._values = known._values
            _metrics[name] = self

    def _claim_lines(self) -> None:
        # REQUIRES: _lock is held.
        lines = [self._name + end for end in self._suffixes]
        for line in lines:
            owner = _line_names.get(line, self._name)
            if owner != self._name:
                raise InvalidOptionError(
                    f"[invalid option] the {self._kind} {self._name} and the metric {owner} would "
                    f"both write lines named {line}. Give it another name."
                )
        _line_names.update(dict.fromkeys(lines, self._name))

    def set_default_tags(self, default_tags: dict[str, str]) -> Metric:
        """Tags that every record carries unless it says otherwise. Returns this metric."""
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        self._default_tags = dict(default_tags)
        return self

    def _tags(self, tags: Mapping[str, str] | None) -> TagValues:
        given = {**self._default_tags, **(tags or {})}
        for key, value in (tags or {}).items():
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
        missing = [key for key in self._tag_keys if key not in given]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple(given[key] for key in self._tag_keys)

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _samples(self) -> list[tuple[str, dict[str, str], float]]:
        return [
            ("", dict(zip(self._tag_keys, tags, strict=True)), value)
            for tags, value in self._values.items()
        ]

    def __reduce__(self) -> Any:
        return type(self), self._made_from(), {"_default_tags": self._default_tags}

    def _made_from(self) -> tuple[Any, ...]:
        return (self._name, self._description, self._tag_keys)


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")


class Counter(Metric):
    """A number that only grows."""

    _kind = "counter"

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add to it. Raises ValueError for a value of zero or less."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        key = self._tags(tags)
        with _lock:
            self._values[key] = self._values.get(key, 0.0) + value
            _note(self, key, value)


class Gauge(Metric):
    """A number that goes up and down."""

    _kind = "gauge"

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set it. None records nothing."""
        if value is None:
            return
        _check_number(value)
        key = self._tags(tags)
        with _lock:
            self._values[key] = float(value)
            _note(self, key, float(value))


class Histogram(Metric):
    """How often values fell into ranges. `boundaries`: their upper ends, positive and rising."""

    _kind = "histogram"
    _suffixes = ("", "_bucket", "_sum", "_count")

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        if boundaries is None or len(boundaries) == 0:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. "
                "e.g., Histogram('name', boundaries=[1.0, 2.0])"
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    "Invalid `boundaries` argument at index "
                    f"{index}, {boundaries}. Use positive values for the arguments."
                )
        super().__init__(name, description, tag_keys)
        self.boundaries = list(boundaries)
        self._counts: dict[TagValues, list[int]] = {}
        self._sums: dict[TagValues, float] = {}

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Record a value."""
        _check_number(value)
        key = self._tags(tags)
        with _lock:
            counts = self._counts.setdefault(key, [0] * (len(self.boundaries) + 1))
            at = bisect.bisect_left(self.boundaries, value)
            counts[at] += 1
            self._sums[key] = self._sums.get(key, 0.0) + value
            _note(self, key, value, [int(i == at) for i in range(len(counts))])

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def _samples(self) -> list[tuple[str, dict[str, str], float]]:
        found: list[tuple[str, dict[str, str], float]] = []
        for tags, counts in self._counts.items():
            labels = dict(zip(self._tag_keys, tags, strict=True))
            total = 0
            for boundary, count in zip([*self.boundaries, "+Inf"], counts, strict=True):
                total += count
                found.append(("_bucket", {**labels, "le": str(boundary)}, total))
            found.append(("_sum", labels, self._sums[tags]))
            found.append(("_count", labels, total))
        return found

    def _made_from(self) -> tuple[Any, ...]:
        return (self._name, self._description, self.boundaries, self._tag_keys)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def prometheus_text() -> str:
    """The metrics of this process in the text form of Prometheus."""
    lines: list[str] = []
    with _lock:
        for name, metric in _metrics.items():
            full = f"polyray_{name}"
            lines.append(f"# HELP {full} {_escaped(metric._description)}")
            lines.append(f"# TYPE {full} {metric._kind}")
            for suffix, labels, value in metric._samples():
                inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
                shown = f"{{{inner}}}" if inner else ""
                lines.append(f"{full}{suffix}{shown} {value}")
    return "\n".join(lines) + "\n"


__all__ = ["Counter", "Gauge", "Histogram", "Metric", "prometheus_text"]
