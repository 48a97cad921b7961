# SPDX-License-Identifier: Apache-2.0
"""Strategies for the `scheduling_strategy` option: a bundle of a placement group, a node, labels.

Values that compare equal ask for the same. Besides these, the texts "DEFAULT" (which also keeps a
task out of its parent's placement group) and "SPREAD" are strategies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NODE_ID_DIGITS = 16


class _Strategy:
    """Compared and hashed by its fields, so that equal strategies share one task spec."""

    def _key(self) -> Any:
        return tuple(sorted((name, repr(value)) for name, value in vars(self).items()))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))


class PlacementGroupSchedulingStrategy(_Strategy):
    """Run in a bundle of a placement group.

    `placement_group`: the group, None for none. `placement_group_bundle_index`: -1 for any bundle.
    `placement_group_capture_child_tasks`: whether what it submits runs in the group too; None takes
    over from the parent.
    """

    def __init__(
        self,
        placement_group: Any,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def _key(self) -> Any:
        group = self.placement_group
        return (
            None if group is None else group.id.hex(),
            self.placement_group_bundle_index,
            self.placement_group_capture_child_tasks,
        )


class NodeAffinitySchedulingStrategy(_Strategy):
    """Run on one node. `node_id`: its hexadecimal id. `soft`: elsewhere when it does not exist.

    Raises ValueError for a text that is no node id.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        text = node_id if isinstance(node_id, str) else getattr(node_id, "hex", lambda: "")()
        try:
            ok = len(text) >= _NODE_ID_DIGITS and len(text) % 2 == 0 and bytes.fromhex(text)
        except ValueError:
            ok = False
        if not ok or set(text) == {"f"}:
            raise ValueError(
                f"Invalid node_id '{node_id}'. Node ID must be a valid hex string. To get a list "
                "of all nodes and their IDs in your cluster, use ray.nodes()."
            )
        if _spill_on_unavailable and not soft:
            raise ValueError(
                f"_spill_on_unavailable cannot be set when soft is {soft}. "
                "Please set soft to True to use _spill_on_unavailable."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                f"_fail_on_unavailable cannot be set when soft is {soft}. "
                "Please set soft to False to use _fail_on_unavailable."
            )
        self.node_id = text
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable


def _values(operator: str, values: tuple[Any, ...]) -> list[str]:
    if not values:
        raise ValueError(
            f"The variadic parameter of the {operator} operator must be a non-empty tuple: "
            f'e.g. {operator}("value1", "value2").'
        )
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {index} for the {operator} operator must be str "
                f'(e.g. {operator}("value1", "value2")) but got {value} of type {type(value)}.'
            )
    return list(values)


class In(_Strategy):
    """The label has one of these values."""

    def __init__(self, *values: str) -> None:
        self.values = _values("In", values)

    def matches(self, value: str | None) -> bool:
        """Whether a label's value (None: no such label) is taken."""
        return value in self.values


class NotIn(_Strategy):
    """The label has none of these values (also when it does not exist)."""

    def __init__(self, *values: str) -> None:
        self.values = _values("NotIn", values)

    def matches(self, value: str | None) -> bool:
        """Whether a label's value (None: no such label) is taken."""
        return value not in self.values


class Exists(_Strategy):
    """The label exists."""

    def matches(self, value: str | None) -> bool:
        """Whether a label's value (None: no such label) is taken."""
        return value is not None


class DoesNotExist(_Strategy):
    """The label does not exist."""

    def matches(self, value: str | None) -> bool:
        """Whether a label's value (None: no such label) is taken."""
        return value is None


Operator = In | NotIn | Exists | DoesNotExist


class NodeLabelSchedulingStrategy(_Strategy):
    """Run on a node whose labels match. `hard`: required; `soft`: preferred. Maps of operators.

    Raises ValueError when both are empty or an entry is no operator.
    """

    def __init__(
        self, hard: Mapping[str, Operator] | None, *, soft: Mapping[str, Operator] | None = None
    ) -> None:
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not (self.hard or self.soft):
            raise ValueError(
                "The `hard` and `soft` parameter of NodeLabelSchedulingStrategy "
                "cannot both be empty."
            )

    def _key(self) -> Any:
        return tuple(
            tuple(sorted((key, type(one).__name__, one._key()) for key, one in part.items()))
            for part in (self.hard, self.soft)
        )


def _expressions(given: Any, which: str) -> dict[str, Operator]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(
            f'The {which} parameter must be a map (e.g. {{"key1": In("value1")}}) '
            f"but got type {type(given)}."
        )
    for key, value in given.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {which} parameter must be of type str "
                f'(e.g. {{"key1": In("value1")}}) but got {key} of type {type(key)}.'
            )
        if not isinstance(value, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {which} parameter must be one of the `In`, "
                f'`NotIn`, `Exists` or `DoesNotExist` operator (e.g. {{"key1": In("value1")}}) '
                f"but got {value} of type {type(value)}."
            )
    return dict(given)


SchedulingStrategyT = (
    None
    | str
    | PlacementGroupSchedulingStrategy
    | NodeAffinitySchedulingStrategy
    | NodeLabelSchedulingStrategy
)

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]
