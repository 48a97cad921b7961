# SPDX-License-Identifier: Apache-2.0
"""LoggingConfig: how the root logger of the driver and of the workers writes, as text or as JSON.

A record has what is known of where it was made (job, node, worker, task, actor), beside its own
fields and those that `additional_log_standard_attrs` names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

_ENCODINGS = ("TEXT", "JSON")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
}
_ALWAYS = ("asctime", "levelname", "message", "filename", "lineno")
_OURS = frozenset(
    {
        "job_id", "worker_id", "node_id", "actor_id", "task_id", "actor_name", "task_name",
        "task_func_name",
    }
)  # fmt: skip


class LoggingConfig:
    """How logs are written: `encoding` "TEXT" or "JSON", `log_level` of the root logger, and
    further fields of Python's log records. ValueError for other encodings or fields."""

    def __init__(
        self,
        encoding: str = "TEXT",
        log_level: str = "INFO",
        additional_log_standard_attrs: Sequence[str] = (),
    ) -> None:
        if encoding not in _ENCODINGS:
            raise ValueError(
                f"Invalid encoding type: {encoding}. Valid encoding types are: {list(_ENCODINGS)}"
            )
        for name in additional_log_standard_attrs:
            if name not in _STANDARD:
                raise ValueError(
                    f"Unknown python logging standard attribute: {name}. "
                    f"The valid attributes are: {set(_STANDARD)}"
                )
        self.encoding = encoding
        self.log_level = log_level
        self.additional_log_standard_attrs = list(additional_log_standard_attrs)

    def to_wire(self) -> str:
        """What the workers of both languages are told (TypeScript: ts/core/logging.ts)."""
        name: Any = self.log_level
        number = name if isinstance(name, int) else logging.getLevelName(name)
        level = logging.getLevelName(number)  # of WARN: WARNING
        return json.dumps(
            {
                "encoding": self.encoding.lower(),
                "level": level if level in _LEVELS else self.log_level,
                "attrs": self.additional_log_standard_attrs,
            }
        )

    @classmethod
    def from_wire(cls, told: str) -> LoggingConfig:
        """What a driver of either language told; fields that Python's records lack are null."""
        fields = json.loads(told)
        config = cls(fields["encoding"].upper(), fields["level"])
        config.additional_log_standard_attrs = list(fields["attrs"])
        return config

    def apply(self) -> None:
        """Set up the root logger of this process. ValueError for an unknown level."""
        handler = logging.StreamHandler()
        handler.setFormatter(
            (JsonFormatter if self.encoding == "JSON" else TextFormatter)(
                self.additional_log_standard_attrs
            )
        )
        handler.polyray = True  # type: ignore[attr-defined]
        root = logging.getLogger()
        root.setLevel(self.log_level)
        root.handlers = [one for one in root.handlers if not hasattr(one, "polyray")] + [handler]

    def __repr__(self) -> str:
        return (
            f"LoggingConfig(encoding={self.encoding!r}, log_level={self.log_level!r}, "
            f"additional_log_standard_attrs={self.additional_log_standard_attrs!r})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoggingConfig) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]


def where() -> dict[str, Any]:
    """What is known of the code that runs: ids and names; empty when nothing is attached."""
    from polyray import runtime

    if runtime.peek() is None:
        return {}
    from polyray.runtime_context import get_runtime_context

    context = get_runtime_context()
    found: dict[str, Any] = {
        "job_id": context.get_job_id(),
        "worker_id": context.get_worker_id(),
        "node_id": context.get_node_id(),
    }
    if runtime.current().is_worker:
        found.update(
            actor_id=context.get_actor_id(),
            task_id=context.get_task_id(),
            actor_name=context.get_actor_name(),
            task_name=context.get_task_name(),
            task_func_name=context.get_task_function_name(),
        )
    return {name: value for name, value in found.items() if value}


class _Formatter(logging.Formatter):
    def __init__(self, more: Sequence[str]) -> None:
        super().__init__()
        self._more = more

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What is written of a record."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        names = (*_ALWAYS, *(name for name in self._more if name not in _ALWAYS))
        found = {name: getattr(record, name, None) for name in names}
        found.update(where())
        extra = vars(record).items()
        found.update({name: value for name, value in extra if name not in _STANDARD | _OURS})
        return found


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON text."""
        found = self.fields(record)
        if record.exc_info:
            found["exc_text"] = self.formatException(record.exc_info)
        found["timestamp_ns"] = int(record.created * 1e9)
        return json.dumps(found, default=str)


class TextFormatter(_Formatter):
    """Time, level, place and text, then name=value pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        found = self.fields(record)
        rest = " ".join(f"{name}={found[name]}" for name in found if name not in _ALWAYS)
        line = (
            f"{record.asctime}\t{record.levelname} {record.filename}:{record.lineno} -- "
            f"{record.message}"
        )
        if rest:
            line += f" {rest}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


__all__ = ["JsonFormatter", "LoggingConfig", "TextFormatter", "where"]
