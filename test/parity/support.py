# SPDX-License-Identifier: Apache-2.0
"""What every parity script shares: the library under test as `ray`, and lines that read the same
whatever the ids, process numbers, paths and versions are.

A script prints lines by `say` and `caught`; `run.py` compares them with what real Ray printed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

if os.environ.get("PARITY_PEER") == "ray":
    import ray  # real Ray
else:
    import polyray as ray

    for _name in [name for name in sys.modules if name.split(".")[0] == "polyray"]:
        sys.modules["ray" + _name[len("polyray") :]] = sys.modules[_name]

_RULES: tuple[tuple[str, str], ...] = (
    (r"\bpolyray\b", "ray"),
    (r"\b[0-9a-f]{24,64}\b", "<id>"),
    (r"0x[0-9a-f]+", "<addr>"),
    (r"pid[=:] ?\d+", "pid=<pid>"),
    (r"\bip[=:] ?[0-9.]+", "ip=<ip>"),
    (r'File "[^"]*"', 'File "<file>"'),
    (r"\b[a-z_]*<ipython[^>]*>", "<file>"),
    (r"line \d+", "line <n>"),
)


def norm(value: Any) -> str:
    """Text without what differs from run to run."""
    text = str(value)
    for pattern, put in _RULES:
        text = re.sub(pattern, put, text)
    return text.replace("\n", "\\n")


def say(name: str, *values: Any) -> None:
    """One line of the comparison."""
    print(f"{name}: {' | '.join(norm(value) for value in values)}", flush=True)


def kinds(error: BaseException) -> str:
    """The classes that a program could catch it by, without the last three."""
    names = [c.__name__ for c in type(error).__mro__ if c.__module__ != "__main__" or True]
    wanted = [n for n in names if n not in _OURS]
    return ",".join(sorted(set(wanted) - {"object", "BaseException", "Exception"}))


# Classes of ours that stand between Ray's and Python's: invisible to a program written for Ray.
_OURS = {"InvalidOptionError", "RayError", "ClosedError", "NotInitializedError", "_Dual"}


def caught(
    name: str, what: Callable[[], Any], text: bool = True, lines: int | None = None
) -> BaseException | None:
    """Run; say what it gave, or the classes and the text of what it raised."""
    try:
        value = what()
    except BaseException as error:  # whatever comes is the result
        shown = str(error)
        if lines is not None:
            shown = "\n".join(shown.strip().split("\n")[:lines])
        say(name, "raises", kinds(error), *([shown] if text else []))
        return error
    say(name, "gives", repr(value))
    return None


__all__ = ["caught", "kinds", "norm", "ray", "say"]
