# SPDX-License-Identifier: Apache-2.0
"""Exceptions whose constructor does not take their `args`: pickle would call it and fail.

They are made again without their constructor when it refuses, args and attributes as they were.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any


class Remade:
    """Stands for such an exception in a pickle; unpickling gives the exception itself."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        error = self._error
        return remake, (type(error), error.args, dict(error.__dict__))


def applies_to(error: BaseException) -> bool:
    """True for a class with a constructor of its own and pickle's ways of the base class."""
    cls = type(error)
    return (
        type(cls.__init__) is FunctionType
        and cls.__reduce__ is BaseException.__reduce__
        and cls.__reduce_ex__ is object.__reduce_ex__
    )


def remake(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """The exception again."""
    try:
        error = cls(*args)
    except Exception:  # it wants other arguments
        error = cls.__new__(cls)
        error.args = args
    error.__dict__.update(state)
    return error
