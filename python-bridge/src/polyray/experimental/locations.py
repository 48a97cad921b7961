# SPDX-License-Identifier: Apache-2.0
"""Where objects are, how big, and whether they were spilled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polyray import runtime
from polyray._native import ObjectRef


def get_object_locations(
    obj_refs: Iterable[ObjectRef[Any]], timeout_ms: int = -1
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """Size and place of objects, by ref.

    Each is `{"node_ids": [hex], "object_size": bytes or None, "did_spill": bool}`. A result that is
    so small that it lies in its table entry has no nodes, one that is not ready no size. Freed
    objects are left out. `timeout_ms` is for objects on other nodes: all are known here at once.
    """
    if not runtime.is_attached():
        raise RuntimeError("init() was not called.")
    found = runtime.current()
    answer: dict[ObjectRef[Any], dict[str, Any]] = {}
    for ref in obj_refs:
        if type(ref) is not ObjectRef:
            raise TypeError(f"a list of ObjectRefs is needed; it holds a {type(ref).__name__}")
        known = found.client.object_info(ref)
        if known["status"] == _GONE:
            continue
        answer[ref] = {
            "node_ids": [found.place.node_id] if known["in_store"] else [],
            "object_size": known["size"] if known["size"] > 0 else None,
            "did_spill": known["spilled"],
        }
    return answer


def get_local_object_locations(
    obj_refs: Iterable[ObjectRef[Any]],
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """As get_object_locations, without asking anybody."""
    return get_object_locations(obj_refs, 0)


_GONE = 3
