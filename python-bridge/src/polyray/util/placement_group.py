# SPDX-License-Identifier: Apache-2.0
"""Placement groups: bundles of resources that are reserved together, and work placed into them.

The control service keeps the table, the raylet reserves all bundles at once. A group ends with the
job that made it, unless it is detached. Groups compare by id.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from polyray import placement, runtime
from polyray.ids import PlacementGroupID
from polyray.limits import RESOURCE_UNIT

VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}
PLACEMENT_GROUP_BUNDLE_RESOURCE_NAME = "bundle"
_WAIT_CHUNK_S = 20.0


class PlacementGroup:
    """A handle to a placement group. May be sent to other processes."""

    @staticmethod
    def empty() -> PlacementGroup:
        """The group that is none."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(self, id: Any, bundle_cache: list[dict[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        """Whether this is no group."""
        return bool(self.id.is_nil())

    def ready(self) -> Any:
        """A ref that gives this group once all its bundles are reserved."""
        rt = runtime.current()
        if self.is_empty:
            return rt.put(self)
        from polyray.remote_function import RemoteFunction, Target
        from polyray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(self)
        options = {"num_cpus": 0, "scheduling_strategy": strategy, "name": "placement_group_ready"}
        return RemoteFunction(_ready_target(Target), options).remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all bundles are reserved. False when they are not in time (seconds)."""
        if self.is_empty:
            return True
        rt = runtime.current()
        end = time.monotonic() + timeout_seconds
        while True:
            left = end - time.monotonic()
            asked = max(0.0, min(left, _WAIT_CHUNK_S))
            row = rt.request("group.wait", group=self.id.hex(), timeoutMs=asked * 1000)["group"]
            if row is None or row["state"] == "REMOVED":
                raise Exception(f"Placement group {self.id!r} does not exist.")
            if row["state"] == "CREATED":
                return True
            if left <= 0:
                return False

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The bundles, each a map of resource names to amounts."""
        if self.bundle_cache is None:
            row = None if self.is_empty else _row(self.id.hex())
            self.bundle_cache = [] if row is None else _bundles(row)
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str | bytes = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Reserve bundles of resources together; returns at once.

    `strategy`: "PACK" (None means it), "SPREAD", "STRICT_PACK" or "STRICT_SPREAD". `lifetime`: None
    or "detached". Raises ValueError for bundles, a strategy or a lifetime that are not allowed,
    RaySystemError for a name that is taken.
    """
    rt = runtime.current()
    if strategy is not None and topology_strategy is not None:
        raise ValueError("`strategy` and `topology_strategy` cannot both be given.")
    _check(bundles, strategy, lifetime)
    if isinstance(name, bytes):
        name = name.decode()
    if type(name) is not str:
        kind = type(name).__name__
        raise TypeError(f"The name of a placement group must be a string, not {kind}.")
    answer = rt.request(
        "group.create",
        bundles=[
            {key: max(1, round(amount * RESOURCE_UNIT)) for key, amount in bundle.items() if amount}
            for bundle in bundles
        ],
        strategy=strategy or "PACK",
        name=name,
        lifetime=lifetime,
        namespace=rt.namespace(),
        job=rt.job,
    )
    cache = [{key: float(amount) for key, amount in bundle.items()} for bundle in bundles]
    return PlacementGroup(PlacementGroupID.from_hex(answer["group"]["id"]), cache)


def _check(bundles: Any, strategy: Any, lifetime: Any) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    example = 'For example: `[{"CPU": 1.0}, {"GPU": 1.0}]`.'
    wanted = f"Bundles must be a non-empty list of resource dictionaries. {example}"
    if not bundles:
        raise ValueError(f"{wanted} Got empty list instead.")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(key, str) and isinstance(amount, (int, float))
            for key, amount in bundle.items()
        ):
            raise ValueError(wanted)
        if not any(amount != 0 for amount in bundle.values()):
            raise ValueError(
                "Bundles cannot be an empty dictionary or resources with only 0 values. "
                f"Bundles: {bundles}"
            )
        if any(amount < 0 for amount in bundle.values()):
            raise ValueError(f"{wanted} Amounts cannot be negative: {bundle}")
    if strategy is not None and strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. "
            f"Supported strategies are: {VALID_PLACEMENT_GROUP_STRATEGIES}."
        )
    if lifetime not in (None, "detached"):
        raise ValueError(
            "Placement group `lifetime` argument must be either `None` or 'detached'. "
            f"Got {lifetime}."
        )


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the group's resources back; tasks and actors that run in it are ended."""
    runtime.current().request("group.remove", group=placement_group.id.hex())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of a name. Raises ValueError when there is none."""
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    rt = runtime.current()
    row = rt.request("group.byName", name=placement_group_name, namespace=rt.namespace())["group"]
    if row is None:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID.from_hex(row["id"]), _bundles(row))


def get_current_placement_group() -> PlacementGroup | None:
    """The group that this task or actor runs in; None outside of one."""
    runtime.current()
    placed = placement.parse(runtime.placement)
    return None if placed is None else PlacementGroup(PlacementGroupID.from_hex(placed["group"]))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of one group, or of all by id: state, bundles, strategy, stats."""
    rt = runtime.current()
    if placement_group is not None:
        row = _row(placement_group.id.hex())
        return {} if row is None else _described(rt, row)
    rows = rt.request("group.list")["groups"]
    return {row["id"]: _described(rt, row) for row in rows}


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Raises ValueError for a bundle that the group does not have; -1 is any."""
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif bundle_index >= placement_group.bundle_count or bundle_index < -1:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. "
            f"Valid placement group indexes: 0-{placement_group.bundle_count}"
        )


def _row(group: str) -> dict[str, Any] | None:
    row = runtime.current().request("group.get", group=group)["group"]
    return None if row is None else dict(row)


def _bundles(row: dict[str, Any]) -> list[dict[str, float]]:
    return [
        {key: amount / RESOURCE_UNIT for key, amount in bundle.items()} for bundle in row["bundles"]
    ]


def _described(rt: runtime.Runtime, row: dict[str, Any]) -> dict[str, Any]:
    bundles = _bundles(row)
    created = row["state"] == "CREATED"
    taken = float((row["readyAtMs"] or row["createdAtMs"]) - row["createdAtMs"])
    scheduling = {"CREATED": "FINISHED", "REMOVED": "REMOVED"}.get(row["state"], "QUEUED")
    return {
        "placement_group_id": row["id"],
        "name": row["name"],
        "bundles": dict(enumerate(bundles)),
        "bundles_to_node_id": {
            index: rt.place.node_id if created else "" for index in range(len(bundles))
        },
        "strategy": row["strategy"],
        "state": row["state"],
        "stats": {
            "end_to_end_creation_latency_ms": taken,
            "scheduling_latency_ms": taken,
            "scheduling_attempt": 1,
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": scheduling,
        },
    }


def _same(group: PlacementGroup) -> PlacementGroup:
    return group


_target: Any = None


def _ready_target(make: Any) -> Any:
    global _target
    if _target is None:
        _target = make(None, "py", "polyray.util.placement_group", "_same")
    return _target


__all__: Sequence[str] = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]
