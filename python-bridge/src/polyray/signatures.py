# SPDX-License-Identifier: Apache-2.0
"""Whether a call's arguments fit a function, told where `.remote()` is called.

A plain function is judged by the counts of its code object; `inspect` (which is slow to import and
to run) is asked only when those do not settle it, and words the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

_VARARGS = 0x04


class Signature:
    """What a function takes. `skip` leading parameters (self) are not the caller's."""

    __slots__ = ("_function", "_parameters", "_skip", "least", "most")

    def __init__(self, function: Any, skip: int = 0) -> None:
        self._function = function
        self._skip = skip
        self._parameters: list[Any] | None = None
        # least <= number of positional arguments <= most: a call without keywords fits.
        self.least, self.most = 1, 0
        if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
            code = function.__code__
            kw_defaults = function.__kwdefaults__ or {}
            if len(kw_defaults) == code.co_kwonlyargcount:
                count = code.co_argcount
                self.least = max(0, count - len(function.__defaults__ or ()) - skip)
                self.most = 1 << 30 if code.co_flags & _VARARGS else count - skip

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError when they do not fit."""
        if not kwargs and self.least <= len(args) <= self.most:
            return
        import inspect

        if self._parameters is None:
            try:
                found = list(inspect.signature(self._function).parameters.values())
            except (TypeError, ValueError):  # a built-in without a signature: the worker tells
                self.least, self.most = 0, 1 << 30
                found = [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            else:
                skip = self._skip
                if skip and found and found[0].kind is inspect.Parameter.VAR_POSITIONAL:
                    skip = 0
                found = found[skip:]
            self._parameters = found
        try:
            inspect.Signature(self._parameters).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(str(error)) from None
