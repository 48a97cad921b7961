# SPDX-License-Identifier: Apache-2.0
"""list_*, get_* and summarize_*: what the runtime runs and holds now, and what lately ended.

The node service filters and cuts; long lists come in pages. A program that is not attached may give
`address`; it joins that runtime for the question and leaves it again. Accurate within a second.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from polyray import runtime
from polyray.exceptions import RayError
from polyray.util.state.common import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    RAY_MAX_LIMIT_FROM_API_SERVER,
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    StateSchema,
    TaskState,
    WorkerState,
)
from polyray.util.state.exception import RayStateApiException, ServerUnavailable

Filter = tuple[str, str, Any]
_SCHEMAS: dict[str, type[StateSchema]] = {
    "tasks": TaskState,
    "actors": ActorState,
    "objects": ObjectState,
    "workers": WorkerState,
    "nodes": NodeState,
    "jobs": JobState,
    "placement_groups": PlacementGroupState,
}


def fetch(resource: str, filters: Sequence[Filter], limit: int) -> tuple[list[dict[str, Any]], int]:
    """Rows of a resource and how many match in all."""
    try:
        rt = runtime.current()
        answer = rt.request(
            "state.list", resource=resource, filters=[list(one) for one in filters], limit=limit
        )
        parts = [answer["part"]]
        size = len(answer["part"])
        while size < answer["bytes"]:
            part = rt.request("state.page", page=answer["page"], offset=size)["part"]
            parts.append(part)
            size += len(part)
    except RayError as error:
        raise ServerUnavailable(f"Failed to ask the runtime for its {resource}: {error}") from error
    rows = msgpack.unpackb(b"".join(parts), raw=False, strict_map_key=False)
    return list(rows), int(answer["filtered"])


def _checked(
    resource: str, filters: Sequence[Filter] | None, limit: int, detail: bool
) -> list[Filter]:
    schema = _SCHEMAS[resource]
    found: list[Filter] = []
    for one in filters or []:
        key, predicate, value = one
        if predicate not in ("=", "!="):
            raise ValueError(
                f"Unsupported filter predicate {predicate} is given. Available predicates: =, !=."
            )
        if key not in schema.filterable_columns():
            raise ValueError(
                f"The given filter key {key} is not supported. "
                f"Supported filter keys: {sorted(schema.filterable_columns())}."
            )
        found.append((key, predicate, value))
    if limit > RAY_MAX_LIMIT_FROM_API_SERVER:
        raise RayStateApiException(
            f"Given limit {limit} exceeds the supported limit {RAY_MAX_LIMIT_FROM_API_SERVER}. "
            "Use a lower limit."
        )
    return found


# Rows of these have ids that programs see in another form than the node service has them.
_SHOWN = {"tasks": ("task_id", "parent_task_id"), "objects": ("object_id",)}


def _split(resource: str, filters: list[Filter]) -> tuple[list[Filter], list[Filter]]:
    """The filters for the node service, and those on ids that are shown in another form."""
    late = [one for one in filters if one[0] in _SHOWN.get(resource, ())]
    return [one for one in filters if one not in late], late


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    from polyray.ids import creation_bytes, id_of_hex, object_bytes, task_bytes

    job = int.from_bytes(bytes.fromhex(row["job_id"]), "little")
    if "object_id" in row:
        if job == 0:  # whoever made it has ended: the job of who asks
            attached = runtime.peek()
            job = 1 if attached is None else attached.job
        return {**row, "object_id": object_bytes(id_of_hex(row["object_id"]), job).hex()}
    method = row["actor_id"] is not None and row["type"] == "ACTOR_TASK"
    actor = id_of_hex(row["actor_id"]) if method else None
    found = {**row, "task_id": task_bytes(id_of_hex(row["task_id"]), actor, job).hex()}
    if row["parent_task_id"]:
        found["parent_task_id"] = task_bytes(id_of_hex(row["parent_task_id"]), None, job).hex()
    if row["type"] == "ACTOR_CREATION_TASK":
        found["task_id"] = creation_bytes(id_of_hex(row["actor_id"])).hex()
    return found


def _matches(row: dict[str, Any], filters: list[Filter]) -> bool:
    return all(
        (str(row[key]).lower() == str(value).lower()) == (predicate == "=")
        for key, predicate, value in filters
    )


def _list(
    resource: str,
    address: str | None,
    filters: Sequence[Filter] | None,
    limit: int,
    detail: bool,
) -> list[Any]:
    checked, late = _split(resource, _checked(resource, filters, limit, detail))
    wanted, limit = limit, RAY_MAX_LIMIT_FROM_API_SERVER if late else limit
    if address is not None and not runtime.is_attached():
        from polyray.driver import init, shutdown

        init(address)
        try:
            rows, _ = fetch(resource, checked, limit)
        finally:
            shutdown()
    else:
        rows, _ = fetch(resource, checked, limit)
    schema = _SCHEMAS[resource]
    if resource in _SHOWN:
        rows = [row for row in map(_shown, rows) if _matches(row, late)][:wanted]
    return [schema(row, detail) for row in rows]


def list_tasks(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """Attempts of tasks and method calls: waiting, running, and the last that ended.

    `filters`: (field, "=" or "!=", value), values without regard to case. `limit`: at most so many.
    Raises ValueError for a filter that is not allowed, RayStateApiException without a runtime.
    """
    return _list("tasks", address, filters, limit, detail)


def list_actors(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """Actors, dead ones too. Arguments and errors as list_tasks."""
    return _list("actors", address, filters, limit, detail)


def list_objects(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """Objects of the store. Arguments and errors as list_tasks."""
    return _list("objects", address, filters, limit, detail)


def list_workers(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """Workers and drivers, ended ones too. Arguments and errors as list_tasks."""
    return _list("workers", address, filters, limit, detail)


def list_nodes(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """Nodes. Arguments and errors as list_tasks."""
    return _list("nodes", address, filters, limit, detail)


def list_jobs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """Drivers. Arguments and errors as list_tasks."""
    return _list("jobs", address, filters, limit, detail)


def list_placement_groups(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """Placement groups, removed ones too. Arguments and errors as list_tasks."""
    return _list("placement_groups", address, filters, limit, detail)


def list_runtime_envs(*args: Any, **kwargs: Any) -> list[Any]:
    """Environments are not listed yet: empty."""
    return []


def list_cluster_events(*args: Any, **kwargs: Any) -> list[Any]:
    """Events are not recorded yet: empty."""
    return []


def _get(resource: str, key: str, wanted: str, address: str | None) -> list[Any]:
    return _list(resource, address, [(key, "=", wanted)], RAY_MAX_LIMIT_FROM_API_SERVER, True)


def _first(rows: list[Any]) -> Any:
    return rows[0] if rows else None


def get_task(
    id: Any,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> Any:
    """A task by id or by its ref: one TaskState, a list of them for several attempts, or None."""
    text = id if isinstance(id, str) else getattr(id, "task_id", lambda: id)().hex()
    text = text[:48]  # of a ref's text: its task
    rows = _get("tasks", "task_id", text, address)
    return rows if len(rows) > 1 else _first(rows)


def get_actor(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> ActorState | None:
    """An actor by id, or None."""
    found: ActorState | None = _first(_get("actors", "actor_id", id, address))
    return found


def get_node(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> NodeState | None:
    """A node by id, or None."""
    found: NodeState | None = _first(_get("nodes", "node_id", id, address))
    return found


def get_worker(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> WorkerState | None:
    """A worker by id, or None."""
    found: WorkerState | None = _first(_get("workers", "worker_id", id, address))
    return found


def get_job(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> JobState | None:
    """A job by id, or None."""
    found: JobState | None = _first(_get("jobs", "job_id", id, address))
    return found


def get_placement_group(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> PlacementGroupState | None:
    """A placement group by id, or None."""
    rows = _get("placement_groups", "placement_group_id", id, address)
    found: PlacementGroupState | None = _first(rows)
    return found


def get_objects(
    id: str,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> list[ObjectState]:
    """The entries of an object."""
    return _get("objects", "object_id", id, address)


def _summary(
    address: str | None, resource: str, summarize: Callable[[list[Any]], dict[str, Any]]
) -> dict[str, Any]:
    rows = _list(resource, address, None, RAY_MAX_LIMIT_FROM_API_SERVER, True)
    return {"cluster": summarize(rows)}


def summarize_tasks(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many tasks of each function are in which state."""

    def summarize(rows: list[Any]) -> dict[str, Any]:
        types = Tally(row.type for row in rows)
        groups: dict[str, Any] = {}
        for row in rows:
            name = row.func_or_class_name
            one = groups.setdefault(
                name, {"func_or_class_name": name, "type": row.type, "state_counts": {}}
            )
            one["state_counts"][row.state] = one["state_counts"].get(row.state, 0) + 1
        return {
            "summary": groups,
            "total_tasks": types["NORMAL_TASK"],
            "total_actor_tasks": types["ACTOR_TASK"],
            "total_actor_scheduled": types["ACTOR_CREATION_TASK"],
            "summary_by": "func_name",
        }

    return _summary(address, "tasks", summarize)


def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many actors of each class are in which state."""

    def summarize(rows: list[Any]) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for row in rows:
            one = groups.setdefault(
                row.class_name, {"class_name": row.class_name, "state_counts": {}}
            )
            one["state_counts"][row.state] = one["state_counts"].get(row.state, 0) + 1
        return {"summary": groups, "total_actors": len(rows), "summary_by": "class"}

    return _summary(address, "actors", summarize)


def summarize_objects(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many objects there are, and how big they are together."""

    def summarize(rows: list[Any]) -> dict[str, Any]:
        size_mb = sum(max(0, row.object_size) for row in rows) / 1024**2
        one = {
            "total_objects": len(rows),
            "total_size_mb": size_mb,
            "total_num_workers": len({row.pid for row in rows}),
            "total_num_nodes": 1 if rows else 0,
            "task_state_counts": dict(Tally(row.task_status for row in rows)),
            "task_attempt_number_counts": dict(Tally(str(row.attempt_number) for row in rows)),
            "ref_type_counts": dict(Tally(row.reference_type for row in rows)),
        }
        return {
            "summary": {"disabled": one} if rows else {},
            "total_objects": len(rows),
            "total_size_mb": size_mb,
            "callsite_enabled": False,
            "summary_by": "callsite",
        }

    return _summary(address, "objects", summarize)
