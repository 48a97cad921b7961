# SPDX-License-Identifier: Apache-2.0
"""Finding and replacing graph nodes inside of argument values.

Lists, tuples, sets and dicts are walked; other objects go once through a pickler that keeps nodes,
refs, handles, functions, classes and arrays as they are. A value without nodes is never copied; one
that cannot be pickled is taken for a value without nodes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from polyray._native import ObjectRef
from polyray.actor import ActorHandle

_LEAVES = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...)}
)
_KEPT = (
    ObjectRef, ActorHandle, type, ModuleType, FunctionType, MethodType, BuiltinFunctionType,
    memoryview, bytearray,
)  # fmt: skip


def find(value: Any, kind: type) -> list[Any]:
    """All objects of a kind inside of a value, each once, in order."""
    found: dict[int, Any] = {}

    def note(node: Any) -> Any:
        found.setdefault(id(node), node)
        return node

    replace(value, kind, note)
    return list(found.values())


def replace(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """The value with change(node) in the place of each node."""
    cls = type(value)
    if cls in _LEAVES:
        return value
    if isinstance(value, kind):
        return change(value)
    if cls is list or cls is tuple or cls is set or cls is frozenset:
        items = [replace(item, kind, change) for item in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return value if same else cls(items)
    if cls is dict:
        pairs = [(key, replace(item, kind, change)) for key, item in value.items()]
        same = all(item is value[key] for key, item in pairs)
        return value if same else dict(pairs)
    if isinstance(value, _KEPT) or hasattr(cls, "__array__"):
        return value
    return _in_object(value, kind, change)


def _in_object(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    kept: list[Any] = []
    nodes = 0

    class Scanner(pickle.Pickler):
        def persistent_id(self, obj: Any) -> int | None:
            nonlocal nodes
            if isinstance(obj, kind):
                nodes += 1
            elif not isinstance(obj, _KEPT) and not hasattr(type(obj), "__array__"):
                return None
            kept.append(obj)
            return len(kept) - 1

    class Builder(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            obj = kept[pid]
            return change(obj) if isinstance(obj, kind) else obj

    out = io.BytesIO()
    try:
        Scanner(out, protocol=5).dump(value)
    except Exception:  # whatever a __reduce__ raises: there is no way to look inside
        return value
    if nodes == 0:
        return value
    out.seek(0)
    return Builder(out).load()
