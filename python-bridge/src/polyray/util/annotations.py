# SPDX-License-Identifier: Apache-2.0
"""Decorators that say how stable a name is: they add a line to the docstring, mark the object, and
Deprecated(warning=True) warns when it is used.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from enum import Enum
from typing import Any


class AnnotationType(Enum):
    """What an object was marked as."""

    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


class RayDeprecationWarning(DeprecationWarning):
    """Warns of a name that will go."""


if not sys.warnoptions:
    warnings.filterwarnings("module", category=RayDeprecationWarning)

_STABILITIES = ("stable", "beta", "alpha")


def PublicAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a public name: `@PublicAPI` or `@PublicAPI(stability="beta")`."""
    if len(args) == 1 and not kwargs and callable(args[0]):
        return PublicAPI()(args[0])
    stability = kwargs.get("stability", "stable")
    assert stability in _STABILITIES, stability
    group = kwargs.get("api_group", "Others")

    def mark(obj: Any) -> Any:
        if stability != "stable":
            _extend_doc(
                obj,
                f"**PublicAPI ({stability}):** This API is in {stability} "
                "and may change before becoming stable.",
            )
        return _marked(obj, AnnotationType.PUBLIC_API, group)

    return mark


def DeveloperAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a name for authors of libraries."""
    if len(args) == 1 and not kwargs and callable(args[0]):
        return DeveloperAPI()(args[0])

    def mark(obj: Any) -> Any:
        _extend_doc(obj, "**DeveloperAPI:** This API may change across minor Ray releases.")
        return _marked(obj, AnnotationType.DEVELOPER_API)

    return mark


def Deprecated(*args: Any, **kwargs: Any) -> Any:
    """Mark a name that will go: `@Deprecated(message="Use g().", warning=True)`."""
    if len(args) == 1 and not kwargs and callable(args[0]):
        return Deprecated()(args[0])
    warns = kwargs.pop("warning", False)
    message = kwargs.pop("message", None)
    if kwargs:
        raise ValueError(f"Unknown kwargs: {kwargs.keys()}")
    tail = "" if message is None else f"\n{message}"
    doc = "**DEPRECATED**: This API is deprecated and may be removed in future Ray releases."
    text = (
        "This API is deprecated and may be removed in future Ray releases. You could suppress "
        'this warning by setting env variable PYTHONWARNINGS="ignore::DeprecationWarning"'
    )

    def mark(obj: Any) -> Any:
        _extend_doc(obj, doc + tail)
        _marked(obj, AnnotationType.DEPRECATED)
        return _warning(obj, text + tail) if warns else obj

    return mark


def _warning(obj: Any, text: str) -> Any:
    if inspect.isclass(obj):
        construct: Any = getattr(obj, "__init__")  # noqa: B009 - mypy

        @functools.wraps(construct)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            warnings.warn(text, RayDeprecationWarning, stacklevel=2)
            construct(self, *args, **kwargs)

        type.__setattr__(obj, "__init__", init)
        return obj

    @functools.wraps(obj)
    def call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, RayDeprecationWarning, stacklevel=2)
        return obj(*args, **kwargs)

    return call


def _extend_doc(obj: Any, message: str) -> None:
    lines = [line for line in (obj.__doc__ or "").splitlines() if line]
    indent = " " * (len(lines[1]) - len(lines[1].lstrip()) if len(lines) > 1 else 0)
    body = message.replace("\n", f"\n{indent}    ")
    obj.__doc__ = f"{(obj.__doc__ or '').rstrip()}\n\n{indent}{body}\n{indent}"


def _marked(obj: Any, kind: AnnotationType, group: str = "Others") -> Any:
    if hasattr(obj, "__name__"):
        obj._annotated = obj.__name__
        obj._annotated_type = kind
        obj._annotated_api_group = group
    return obj
