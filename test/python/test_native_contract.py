# SPDX-License-Identifier: Apache-2.0
"""Goal: `_native.pyi` is the whole native contract: each name that the extension has, no other.

Method: the stub's syntax tree against the extension, class by class, argument by argument where
the extension tells its signature.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import polyray
from polyray import _native

STUB = ast.parse((Path(polyray.__file__).parent / "_native.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
# Attached by polyray.objects, or the language's own.
ATTACHED = {
    "future",
    "as_future",
    "task_id",
    "job_id",
    "from_binary",
    "from_hex",
    "__await__",
}


def _functions(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def test_the_stub_names_every_class_and_function_of_the_extension() -> None:
    public = {name for name in dir(_native) if callable(getattr(_native, name))}
    public = {name for name in public if not name.startswith("_")}
    stub = set(CLASSES) | set(_functions(STUB.body))
    assert stub == public


def test_the_stub_names_every_member_of_every_class() -> None:
    for name, node in CLASSES.items():
        members = {key for key in vars(getattr(_native, name)) if not key.startswith("_")}
        stub = {key for key in _functions(node.body) if not key.startswith("_")}
        assert stub == members | (stub & ATTACHED), name


def test_the_arguments_have_the_names_of_the_extension() -> None:
    compared = 0
    for name, node in CLASSES.items():
        for key, function in _functions(node.body).items():
            member = vars(getattr(_native, name)).get(key)
            signature = str(getattr(member, "__doc__", "") or "").split("\n")[0]
            if key.startswith("_") or not signature.startswith(f"{key}("):
                continue
            real = re.findall(r"(\w+):", signature.split("->")[0])
            assert [arg.arg for arg in function.args.args[1:]] == real, f"{name}.{key}"
            compared += 1
    assert compared > 30
