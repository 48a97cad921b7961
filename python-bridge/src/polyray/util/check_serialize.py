# SPDX-License-Identifier: Apache-2.0
"""inspect_serializability: finds what in a value or a function cannot be sent, and prints the way
to it.

A function is searched through its closure (globals first), anything else through its members, down
to `depth` levels; the first culprit on each level ends the search there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

_RED, _PLAIN, _BRIGHT, _RESET = "\x1b[31m", "\x1b[39m", "\x1b[1m", "\x1b[0m"
_HINT = "Try calling `ray.util.inspect_serializability` "


class FailureTuple:
    """What cannot be sent: the object, the names that lead to it, and what holds it."""

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    def __repr__(self) -> str:
        names = ["unknown" if name is None else str(name) for name in self.path]
        way = " -> ".join(names)
        last = names[-1] if names else "unknown"
        return f"FailTuple({last} [path={way}, obj={self.obj}, parent={self.parent}])"


class _Inspection:
    def __init__(self, print_file: Any) -> None:
        self.file = print_file
        self.level = 0
        self.failures: set[FailureTuple] = set()

    def say(self, text: str) -> None:
        print("    " * self.level + text, file=self.file)

    def sendable(
        self, obj: Any, name: str | None, depth: int, parent: Any, path: tuple[str, ...]
    ) -> bool:
        error = _pickling_error(obj)
        if error is None:
            return True
        self.say(f"{_RED}!!! FAIL{_PLAIN} serialization: {error}")
        here = path if name is None else (*path, name)
        if depth <= 0:
            if depth == 0:
                self.failures.add(FailureTuple(obj, here, parent))
            return False
        if inspect.isfunction(obj):
            self._closure(obj, depth, here)
        else:
            self._members(obj, depth, here)
        if not self.failures:
            self.failures.add(FailureTuple(obj, here, parent))
        return False

    def _first(
        self, items: Iterable[tuple[str, Any]], depth: int, parent: Any, path: tuple[str, ...]
    ) -> bool:
        self.level += 1
        try:
            for name, obj in items:
                self.say(f"Serializing '{name}' {obj}...")
                if not self.sendable(obj, name, depth - 1, parent, path):
                    return True
            return False
        finally:
            self.level -= 1

    def _closure(self, function: Any, depth: int, path: tuple[str, ...]) -> None:
        self.say(f"Inspecting closure of '{function.__qualname__}':")
        variables = inspect.getclosurevars(function)
        found = False
        for kind, values in (("global", variables.globals), ("nonlocal", variables.nonlocals)):
            if values:
                self.say(f"Detected {len(values)} {kind} variables. Checking serializability...")
                found = self._first(values.items(), depth, function, path) or found
        if not found:
            self.say(
                f"WARNING: Did not find non-serializable object in {function.__qualname__}. "
                "This may be because the object is only non-serializable when combined with other "
                "objects, or because cloudpickle and the traversal disagree on which object causes "
                f"the failure. {_HINT}directly on the suspected object, or simplify the closure to "
                "isolate the cause."
            )

    def _members(self, obj: Any, depth: int, path: tuple[str, ...]) -> None:
        functions = inspect.getmembers(obj, predicate=inspect.isfunction)
        members = [
            (name, member)
            for name, member in inspect.getmembers(obj)
            if not (name.startswith("__") and name.endswith("__")) and not inspect.isbuiltin(member)
        ]
        found = self._first(functions, depth, obj, path)
        found = self._first(members, depth, obj, path) or found
        if not found:
            what = obj.__name__ if inspect.isclass(obj) else f"{type(obj).__name__} instance"
            self.say(
                f"WARNING: Did not find non-serializable object in {what}. This may be because the "
                "object is only non-serializable when combined with other objects, or because "
                f"cloudpickle and the traversal disagree. {_HINT}on individual attributes to "
                "isolate the cause."
            )


def _pickling_error(obj: Any) -> Exception | None:
    from polyray import runtime
    from polyray.serialize import PLAIN_CONTEXT, encode

    try:  # as it would be sent; refs and handles need a runtime to be known
        encode(obj, runtime.peek() or PLAIN_CONTEXT)
    except Exception as error:  # whatever a __reduce__ raises
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    return None


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: Any = None
) -> tuple[bool, set[FailureTuple]]:
    """Whether a value can be sent, and what in it cannot; prints the search.

    `name`: how to call it; `depth`: levels to look into; `print_file`: as print()'s file.
    """
    title = f"Checking Serializability of {base_obj}"
    line = "=" * min(len(title), 80)
    search = _Inspection(print_file)
    for text in (line, title, line):
        search.say(text)
    if search.sendable(base_obj, name, depth, None, ()):
        return True, search.failures
    if depth <= 0:
        return False, search.failures
    culprits = "\n".join(str(failure) for failure in search.failures)
    search.say(line)
    search.say(
        f"Variable: \n\n\t{_BRIGHT}{culprits}{_RESET}\n\nwas found to be non-serializable. "
        "There may be multiple other undetected variables that were non-serializable. "
    )
    search.say(
        "Consider either removing the instantiation/imports of these variables or moving the "
        "instantiation into the scope of the function/class. "
    )
    search.say(line)
    return False, search.failures
