# SPDX-License-Identifier: Apache-2.0
"""Whether a call's arguments fit a function, told where `.remote()` is called.

A signature is a text such as `a,b=,/,c,*rest,d=,**more` (`=` marks a default), which handles carry
to other processes. A call without keywords is judged by two counts; `inspect` (slow to import and
to run) is asked only when those do not settle it, and words the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

_VARARGS, _VARKEYWORDS = 0x04, 0x08
_MANY = 1 << 30
ANYTHING = "*args,**kwargs"


def signature_text(function: Any, skip: int = 0) -> str:
    """The text of what a function takes, without its first `skip` parameters (self)."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        parts = _of_code(function)
    else:
        try:
            parts = _of_inspect(function)
        except (TypeError, ValueError):  # a built-in without a signature: the worker tells
            return ANYTHING
    if skip and parts and not parts[0].startswith("*"):
        parts = parts[1:]
        if parts and parts[0] == "/":
            parts = parts[1:]
    return ",".join(parts)


def _of_code(function: FunctionType) -> list[str]:
    code = function.__code__
    names = code.co_varnames
    count = code.co_argcount
    first_default = count - len(function.__defaults__ or ())
    parts = [names[i] + ("=" if i >= first_default else "") for i in range(count)]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    at = count + code.co_kwonlyargcount
    if code.co_flags & _VARARGS:
        parts.append(f"*{names[at]}")
        at += 1
    elif code.co_kwonlyargcount:
        parts.append("*")
    defaults = function.__kwdefaults__ or {}
    for name in names[count : count + code.co_kwonlyargcount]:
        parts.append(name + ("=" if name in defaults else ""))
    if code.co_flags & _VARKEYWORDS:
        parts.append(f"**{names[at]}")
    return parts


def _of_inspect(function: Any) -> list[str]:
    import inspect

    parts: list[str] = []
    before = None
    for parameter in inspect.signature(function).parameters.values():
        kind = parameter.kind
        if before is parameter.POSITIONAL_ONLY and kind is not parameter.POSITIONAL_ONLY:
            parts.append("/")
        if kind is parameter.KEYWORD_ONLY and before not in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        ):
            parts.append("*")
        mark = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(kind.name, "")
        parts.append(mark + parameter.name + ("" if parameter.default is parameter.empty else "="))
        before = kind
    if before is not None and before.name == "POSITIONAL_ONLY":
        parts.append("/")
    return parts


class Signature:
    """What a call may pass."""

    __slots__ = ("_signature", "_text", "least", "most")

    def __init__(self, text: str) -> None:
        self._text = text
        self._signature: Any = None
        # least <= number of positional arguments <= most: a call without keywords fits.
        self.least = self.most = 0
        needed_keywords = False
        keywords = False
        for part in text.split(",") if text else ():
            if part.startswith("**") or part == "/":
                continue
            if part.startswith("*"):
                keywords = True
                self.most = self.most if part == "*" else _MANY
            elif keywords:
                needed_keywords |= not part.endswith("=")
            else:
                self.most += 1
                self.least += not part.endswith("=")
        if needed_keywords:  # never without keywords
            self.least, self.most = 1, 0

    @property
    def range(self) -> tuple[int, int]:
        """The fewest and the most positional arguments of a call without keywords."""
        return self.least, self.most

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError when they do not fit."""
        if not kwargs and self.least <= len(args) <= self.most:
            return
        if self._signature is None:
            self._signature = self._made()
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(str(error)) from None

    def _made(self) -> Any:
        from inspect import Parameter
        from inspect import Signature as Full

        parts = self._text.split(",") if self._text else []
        kind: Any = Parameter.POSITIONAL_ONLY if "/" in parts else Parameter.POSITIONAL_OR_KEYWORD
        found = []
        for part in parts:
            if part == "/":
                kind = Parameter.POSITIONAL_OR_KEYWORD
            elif part.startswith("**"):
                found.append(Parameter(part[2:], Parameter.VAR_KEYWORD))
            elif part.startswith("*"):
                kind = Parameter.KEYWORD_ONLY
                if part != "*":
                    found.append(Parameter(part[1:], Parameter.VAR_POSITIONAL))
            else:
                default = None if part.endswith("=") else Parameter.empty
                found.append(Parameter(part.rstrip("="), kind, default=default))
        return Full(found)


_known: dict[str, Signature] = {}


def signature_of(text: str) -> Signature:
    """The signature of a text; the same object for the same text."""
    found = _known.get(text)
    if found is None:
        found = _known[text] = Signature(text)
    return found
