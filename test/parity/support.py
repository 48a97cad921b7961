# SPDX-License-Identifier: Apache-2.0
"""What every parity script shares: the library under test as `ray`, and lines that read the same
whatever the ids, process numbers, paths and versions are.

A script prints lines by `say` and `caught`; `run.py` compares them with what real Ray printed.
"""

from __future__ import annotations

import os
import re
import sys
import time
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


def check(name: str, text: bool = True, lines: int | None = None) -> Callable[[Any], Any]:
    """As caught, for the function that follows."""

    def run(what: Callable[[], Any]) -> Any:
        caught(name, what, text, lines)
        return what

    return run


def until(what: Callable[[], Any], seconds: float = 30) -> bool:
    """Whether it becomes true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def died(what: Callable[[], Any]) -> Any:
    """The value, or the class of an actor's error and what it tells of the actor: the lines that
    name it and the kind of its end, without places."""
    try:
        return what()
    except ray.exceptions.RayActorError as error:
        text = norm(error).replace("\\n", "\n")
        facts = [line.strip() for line in text.split("\n\t") if not line.strip().startswith("ip")]
        facts = [fact.split("\nThe actor is dead")[0] for fact in facts]
        how = re.search(r"Worker exit type: (\w+)|killed by `ray.kill`|its owner has died", text)
        said = re.search(r"exit_actor\(\) is called|exit code 0", text)
        shown = "" if how is None else how[0].removesuffix(".")
        return type(error).__name__, facts[1:], shown, "" if said is None else said[0]


__all__ = ["caught", "check", "died", "kinds", "norm", "ray", "say", "until"]
