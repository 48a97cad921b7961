# SPDX-License-Identifier: Apache-2.0
"""Where a task or actor may run: what its scheduling options mean for the resources it asks for.

Work is placed into a bundle of a placement group by resources of the group's own, such as
`CPU_group_0_<id>` (ts/base/group-resources.ts makes the same names). A node or label that is
required and is not here becomes a resource that no node has, so that the raylet refuses it.
Invariants: (1) a name fits the wire (55 bytes); (2) a request into a group names its bundle
resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from polyray import runtime
from polyray.limits import RESOURCE_UNIT
from polyray.runtime import Runtime

_MAX_NAME = 55
_BUNDLE_SHARE = RESOURCE_UNIT // 1000
_SELECTOR = r"(!?)in\((.*)\)"


class Placed:
    """What a spec asks for once its scheduling options are applied.

    `amounts` are in the fixed-point unit; `scheduling` is kept in the spec; `group` is the id of
    the placement group, None without one.
    """

    __slots__ = ("amounts", "group", "scheduling")

    def __init__(
        self, amounts: list[tuple[str, int]], scheduling: str | None, group: str | None
    ) -> None:
        self.amounts = amounts
        self.scheduling = scheduling
        self.group = group


def group_name(resource: str, index: int, group: str) -> str:
    """The name of a resource inside of a group; index -1 for any bundle."""
    middle = "group" if index < 0 else f"group_{index}"
    full = f"{resource}_{middle}_{group}"
    if len(full.encode()) <= _MAX_NAME:
        return full
    import hashlib

    digest = hashlib.sha1(resource.encode(), usedforsecurity=False).hexdigest()[:8]
    start = re.sub(r"[^ -~]", "?", resource.encode()[:12].decode("latin-1"))
    return f"{start}~{digest}_{middle}_{group[:16]}"


def in_bundle(group: str, index: int, amounts: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The amounts as resources of a bundle."""
    found: list[tuple[str, int]] = []
    for name, amount in [*amounts, ("bundle", _BUNDLE_SHARE)]:
        found.append((group_name(name, -1, group), amount))
        if index >= 0:
            found.append((group_name(name, index, group), amount))
    return sorted(found)


def place(
    rt: Runtime, options: Mapping[str, Any], wanted: Mapping[str, float], name: str
) -> Placed:
    """Apply the scheduling options of a task or actor class.

    Raises ValueError for a bundle that does not exist or that the request does not fit into.
    """
    from polyray.options import fixed_amounts

    amounts = fixed_amounts(wanted)
    strategy: Any = options.get("scheduling_strategy")
    kind = type(strategy).__name__
    if kind == "NodeAffinitySchedulingStrategy":
        if strategy.node_id != rt.place.node_id and not strategy.soft:
            amounts.append((f"node_affinity:{strategy.node_id[:40]}", 1))
    elif kind == "NodeLabelSchedulingStrategy":
        for key, operator in strategy.hard.items():
            if not operator.matches(labels_of(rt).get(key)):
                amounts.append((f"node_label:{key}"[:_MAX_NAME], 1))
    for key, text in (options.get("label_selector") or {}).items():
        if not selects(text, labels_of(rt).get(key)):
            amounts.append((f"node_label:{key}"[:_MAX_NAME], 1))
    group, index, capture = _group_of(options, strategy, kind)
    if group is None:
        text = strategy if isinstance(strategy, str) else kind if strategy is not None else None
        return Placed(sorted(amounts), text, None)
    from polyray.util.placement_group import check_placement_group_index

    check_placement_group_index(group, index)
    _check_fits(group, wanted, name)
    group_id = group.id.hex()
    text = json.dumps({"group": group_id, "bundle": index, "capture": capture})
    return Placed(in_bundle(group_id, index, amounts), text, group_id)


def _group_of(options: Mapping[str, Any], strategy: Any, kind: str) -> tuple[Any, int, bool]:
    if kind == "PlacementGroupSchedulingStrategy":
        group = strategy.placement_group
        index = strategy.placement_group_bundle_index
        capture = strategy.placement_group_capture_child_tasks
    else:
        group = options.get("placement_group", "default")
        index = options.get("placement_group_bundle_index")
        capture = options.get("placement_group_capture_child_tasks")
    index = -1 if index is None else index
    if group == "default":
        if strategy is None and runtime.captured is not None:
            from polyray.util.placement_group import get_current_placement_group

            return get_current_placement_group(), index, True
        group = None
    if group is None or group.is_empty:
        if index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
        return None, -1, False
    if capture is None:
        capture = runtime.captured is not None
    return group, index, bool(capture)


def _check_fits(group: Any, wanted: Mapping[str, float], name: str) -> None:
    bundles = group.bundle_specs
    if any(all(b.get(key, 0) >= amount for key, amount in wanted.items()) for b in bundles):
        return
    raise ValueError(
        f"Cannot schedule {name.rsplit('.', 1)[-1]} with the placement group because the resource "
        f"request {dict(wanted)} cannot fit into any bundles for the placement group, {bundles}."
    )


def labels_of(rt: Runtime) -> Mapping[str, str]:
    """The labels of this node."""
    if rt.node_labels is None:
        rows = rt.request("nodes")["nodes"]
        own: dict[str, Any] = next((row for row in rows if row["nodeId"] == rt.place.node_id), {})
        rt.node_labels = {"ray.io/node-id": rt.place.node_id, **own.get("labels", {})}
    return rt.node_labels


def selects(text: str, value: str | None) -> bool:
    """Whether a label selector such as "a", "!a", "in(a,b)", "!in(a,b)" takes a label's value."""
    several = re.fullmatch(_SELECTOR, text)
    if several:
        names = [one.strip() for one in several[2].split(",")]
        return (value in names) != bool(several[1])
    if text.startswith("!"):
        return value != text[1:]
    return value == text


def enter(scheduling: str | None) -> None:
    """What runs here from now on was placed so; read by get_current_placement_group()."""
    runtime.placement = scheduling
    placed = parse(scheduling)
    runtime.captured = placed["group"] if placed and placed.get("capture") else None


def parse(scheduling: str | None) -> dict[str, Any] | None:
    """The group, bundle and capture of a spec's scheduling text, or None."""
    if scheduling is None or not scheduling.startswith("{"):
        return None
    return dict(json.loads(scheduling))
