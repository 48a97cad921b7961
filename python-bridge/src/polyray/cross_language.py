# SPDX-License-Identifier: Apache-2.0
"""Calling TypeScript and JavaScript: functions and classes named by module and export.

A module is a `file:` URL, a path (made absolute) or a package name. TypeScript sources need a
loader in the worker: the one of the driver where it has one, else the `tsx` of the module's
project, else that of this package.
"""

from __future__ import annotations

import os
from typing import Any

from polyray import runtime
from polyray.actor import ActorClass
from polyray.exceptions import InvalidOptionError
from polyray.remote_function import RemoteFunction, Target

_TYPESCRIPT = (".ts", ".mts", ".cts", ".tsx")


def js_function(
    module: str | os.PathLike[str], export: str = "default", **options: Any
) -> RemoteFunction:
    """A function that a module of JavaScript or TypeScript exports."""
    return RemoteFunction(_target(module, export), {}).options(**options)


def js_actor_class(
    module: str | os.PathLike[str], export: str = "default", **options: Any
) -> ActorClass:
    """A class that a module of JavaScript or TypeScript exports."""
    return ActorClass(_target(module, export), {}).options(**options)


def _target(module: str | os.PathLike[str], export: str) -> Target:
    text = os.fspath(module)
    if not isinstance(text, str) or not text or not isinstance(export, str) or not export:
        raise InvalidOptionError(
            "[invalid option] a module and the name of its export are texts, "
            f"not {module!r}, {export!r}."
        )
    if not text.startswith(("file:", "node:", "data:")) and _is_path(text):
        from pathlib import Path

        path = Path(text).expanduser().resolve()
        if not path.exists():
            raise InvalidOptionError(f"[invalid option] there is no module {path}.")
        text = path.as_uri()
    return Target(None, "ts", text, export, _loader(text))


def _is_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or os.path.exists(text)


def _loader(url: str) -> tuple[str, ...]:
    found = runtime.peek()
    inherited = tuple(found.key_base.exec_argv) if found is not None else ()
    if not url.endswith(_TYPESCRIPT) or any(
        "tsx" in part or "ts-node" in part for part in inherited
    ):
        return ()
    from pathlib import Path
    from urllib.parse import unquote, urlparse

    from polyray.sessions import home

    start = Path(unquote(urlparse(url).path)).parent
    roots: list[Path] = [start, *start.parents, Path.cwd()]
    root = home().get("root")
    if root:
        roots.append(Path(root))
    for folder in roots:
        loader = folder / "node_modules" / "tsx" / "dist" / "loader.mjs"
        if loader.is_file():
            return ("--import", loader.as_uri())
    return ()


class Language:
    """The languages of tasks and actors; Java and C++ are named only to be refused."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Language) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    PYTHON: Language
    TYPESCRIPT: Language
    JAVA: Language
    CPP: Language


for _name in ("PYTHON", "TYPESCRIPT", "JAVA", "CPP"):
    setattr(Language, _name, Language(_name))


def _refused(what: str) -> Any:
    raise InvalidOptionError(
        f"[invalid option] there are no {what} workers; js_function() and js_actor_class() call "
        "TypeScript and JavaScript."
    )


def java_function(class_name: str, function_name: str) -> Any:
    """Refused: there are no Java workers. Raises InvalidOptionError."""
    return _refused("Java")


def java_actor_class(class_name: str) -> Any:
    """Refused: there are no Java workers. Raises InvalidOptionError."""
    return _refused("Java")


def cpp_function(function_name: str) -> Any:
    """Refused: there are no C++ workers. Raises InvalidOptionError."""
    return _refused("C++")


def cpp_actor_class(create_function_name: str, class_name: str) -> Any:
    """Refused: there are no C++ workers. Raises InvalidOptionError."""
    return _refused("C++")
