# SPDX-License-Identifier: Apache-2.0
"""Rows of the state API, with Ray's names and fields.

A row has its fields as attributes and by index (`row["name"]`); fields that a listing without
`detail` leaves out are None. Rows are made from the maps that the node service gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

DEFAULT_LIMIT = 100
DEFAULT_RPC_TIMEOUT = 30
RAY_MAX_LIMIT_FROM_API_SERVER = 10_000


class StateSchema:
    """Base of the rows. `base`: fields of every listing, `more`: those of `detail=True`."""

    base: ClassVar[tuple[str, ...]] = ()
    more: ClassVar[tuple[str, ...]] = ()
    unfilterable: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, row: Mapping[str, Any] | None = None, detail: bool = True, **fields: Any):
        given = {**(row or {}), **fields}
        shown = self.list_columns(detail)
        for name in (*self.base, *self.more):
            setattr(self, name, given.get(name) if name in shown else None)

    @classmethod
    def list_columns(cls, detail: bool = True) -> list[str]:
        """The names of the fields."""
        return [*cls.base, *cls.more] if detail else [*cls.base]

    @classmethod
    def columns(cls) -> set[str]:
        """All fields."""
        return set(cls.list_columns())

    @classmethod
    def base_columns(cls) -> set[str]:
        """The fields of a listing without detail."""
        return set(cls.base)

    @classmethod
    def detail_columns(cls) -> set[str]:
        """The fields of a listing with detail."""
        return cls.columns()

    @classmethod
    def filterable_columns(cls) -> set[str]:
        """The fields that filters may name."""
        return cls.columns() - cls.unfilterable

    def asdict(self) -> dict[str, Any]:
        """The row as a dict."""
        return {name: getattr(self, name) for name in self.list_columns()}

    to_dict = asdict

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or the default."""
        return getattr(self, key, default)

    def keys(self) -> list[str]:
        """The names of the fields."""
        return self.list_columns()

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values."""
        return iter(self.asdict().items())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"{type(self).__name__}({fields})"


class TaskState(StateSchema):
    """One attempt of a task or method call."""

    base = (
        "task_id", "attempt_number", "name", "state", "job_id", "actor_id", "type",
        "func_or_class_name", "parent_task_id", "node_id", "worker_id", "worker_pid", "error_type",
    )  # fmt: skip
    more = (
        "language", "required_resources", "runtime_env_info", "placement_group_id", "events",
        "profiling_data", "creation_time_ms", "start_time_ms", "end_time_ms", "task_log_info",
        "error_message", "is_debugger_paused", "call_site", "label_selector", "fallback_strategy",
    )  # fmt: skip
    unfilterable = frozenset(
        {
            "required_resources", "runtime_env_info", "events", "profiling_data",
            "creation_time_ms", "start_time_ms", "end_time_ms", "task_log_info", "error_message",
            "call_site", "label_selector", "fallback_strategy",
        }
    )  # fmt: skip


class ActorState(StateSchema):
    """An actor, alive or dead."""

    base = (
        "actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace",
    )  # fmt: skip
    more = (
        "serialized_runtime_env", "required_resources", "death_cause", "is_detached",
        "placement_group_id", "repr_name", "num_restarts",
        "num_restarts_due_to_lineage_reconstruction", "num_restarts_due_to_node_preemption",
        "call_site", "label_selector", "fallback_strategy",
    )  # fmt: skip
    unfilterable = frozenset(
        {
            "serialized_runtime_env", "required_resources", "death_cause", "is_detached",
            "num_restarts", "num_restarts_due_to_lineage_reconstruction",
            "num_restarts_due_to_node_preemption", "call_site", "label_selector",
            "fallback_strategy",
        }
    )  # fmt: skip


class PlacementGroupState(StateSchema):
    """A placement group."""

    base = ("placement_group_id", "name", "creator_job_id", "state")
    more = ("bundles", "is_detached", "stats", "topology_strategy", "topology_assignments")
    unfilterable = frozenset({"bundles", "stats", "topology_strategy", "topology_assignments"})


class NodeState(StateSchema):
    """A node."""

    base = (
        "node_id", "node_ip", "is_head_node", "state", "state_message", "node_name",
        "resources_total", "labels",
    )  # fmt: skip
    more = ("start_time_ms", "end_time_ms")
    unfilterable = frozenset(
        {"state_message", "resources_total", "labels", "start_time_ms", "end_time_ms"}
    )


class JobState(StateSchema):
    """A driver and what it started."""

    base = (
        "type", "job_id", "submission_id", "driver_info", "status", "entrypoint", "message",
        "error_type", "start_time", "end_time", "metadata", "runtime_env",
        "driver_agent_http_address", "driver_node_id", "driver_exit_code",
    )  # fmt: skip


class WorkerState(StateSchema):
    """A worker process or a driver."""

    base = (
        "worker_id", "is_alive", "worker_type", "exit_type", "node_id", "ip", "pid",
    )  # fmt: skip
    more = (
        "exit_detail", "worker_launch_time_ms", "worker_launched_time_ms", "start_time_ms",
        "end_time_ms", "debugger_port", "num_paused_threads",
    )  # fmt: skip
    unfilterable = frozenset({"exit_detail", "worker_launch_time_ms", "worker_launched_time_ms"})


class ObjectState(StateSchema):
    """An object of the store."""

    base = (
        "object_id", "object_size", "task_status", "attempt_number", "reference_type", "call_site",
        "type", "pid", "ip",
    )  # fmt: skip


class RuntimeEnvState(StateSchema):
    """An environment of workers."""

    base = ("runtime_env", "success", "node_id")
    more = ("creation_time_ms", "ref_cnt", "error")


class ClusterEventState(StateSchema):
    """An event of the cluster."""

    base = ("severity", "time", "source_type", "message", "event_id")
    more = ("custom_fields",)
