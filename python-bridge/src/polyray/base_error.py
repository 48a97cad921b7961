# SPDX-License-Identifier: Apache-2.0
"""RayError, the base of all errors, and the rows of proto/errors.json by code, name and class.

Programs find it in polyray.exceptions.
"""

from __future__ import annotations

from typing import Any

from polyray.error_codes import ROWS, ErrorRow

MODULE = "polyray.exceptions"  # where programs know every class
_BY_CODE: dict[int, ErrorRow] = {row.code: row for row in ROWS}
BY_NAME: dict[str, ErrorRow] = {row.name: row for row in ROWS}
_FIRST_OF_CLASS: dict[str, ErrorRow] = {}
for _row in ROWS:
    _FIRST_OF_CLASS.setdefault(_row.class_name, _row)

DETAILS = ("task_name", "task_id", "actor_id", "node_id", "pid", "remote_stack")


class RayError(Exception):
    """Base of all errors of polyray."""

    __module__ = MODULE
    _chains_cause = True

    code: str = "SYSTEM"
    task_name: str | None = None
    task_id: str | None = None
    actor_id: str | None = None
    node_id: str | None = None
    pid: int | None = None
    remote_stack: str | None = None
    cause: Any = None

    def __init__(self, *args: Any, code: str | None = None, **details: Any) -> None:
        super().__init__(*args)
        row = _FIRST_OF_CLASS.get(type(self).__name__)
        if code is not None:
            self.code = code
        elif row is not None:
            self.code = row.name
        for name, value in details.items():
            if name != "cause" and name not in DETAILS:
                raise TypeError(f"{type(self).__name__} has no detail {name!r}")
            setattr(self, name, value)
        if self._chains_cause and isinstance(self.cause, BaseException):
            self.__cause__ = self.cause

    @property
    def retryable(self) -> bool:
        """True when the same operation may succeed later."""
        return BY_NAME[self.code].retryable


def error_row_of_number(code: int) -> ErrorRow | None:
    """The row of a wire number, or None."""
    return _BY_CODE.get(code)
