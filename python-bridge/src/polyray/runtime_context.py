# SPDX-License-Identifier: Apache-2.0
"""Who and where this code is: get_runtime_context(), with Ray's names.

Ids are hexadecimal texts; the old properties (`job_id`, `node_id`, `task_id`, `actor_id`) and get()
give id objects and a RayDeprecationWarning. What only a worker has is None in a driver, with a
warning in the log, or raises.
"""

from __future__ import annotations

import os
from typing import Any

from polyray import ids, runtime
from polyray.placement import parse

_WORKER_ONLY = "This method is only available when the process is a worker. Current mode: 0"


def _warn_of_driver() -> None:
    import logging

    logging.getLogger(__name__).warning(_WORKER_ONLY)


def _deprecated(instead: str) -> None:
    import warnings

    from polyray.util.annotations import RayDeprecationWarning

    warnings.warn(
        "This API is deprecated and may be removed in future Ray releases. You could suppress this "
        'warning by setting env variable PYTHONWARNINGS="ignore::DeprecationWarning"\n'
        f"Use {instead} instead",
        RayDeprecationWarning,
        stacklevel=3,
    )


class RuntimeContext:
    """A look at the current runtime."""

    @property
    def worker(self) -> Any:
        """The runtime of this process."""
        return runtime.current()

    @property
    def namespace(self) -> str:
        """The namespace of this job."""
        return runtime.current().namespace()

    @property
    def gcs_address(self) -> str:
        """The address of the runtime."""
        return runtime.current().place.address

    # -- ids

    def get_job_id(self) -> str:
        """The job's id: 8 digits."""
        return str(ids.JobID.from_int(runtime.current().job).hex())

    def get_node_id(self) -> str:
        """The node's id: 56 digits."""
        return runtime.current().place.node_id

    def get_worker_id(self) -> str:
        """An id of this process: 56 digits."""
        rt = runtime.current()
        return f"{rt.place.node_id[:16]}{rt.client.serial:040x}"

    def get_task_id(self) -> str | None:
        """The running task's id; None in a driver."""
        run = self._running_in_worker()
        return None if run is None else _shown(run).hex()

    def get_actor_id(self) -> str | None:
        """This actor's id; None when this is no actor."""
        actor = _actor()
        return None if actor is None else actor.id.hex()

    @property
    def job_id(self) -> Any:
        """The job's id as a JobID; deprecated."""
        _deprecated("get_job_id()")
        return ids.JobID.from_int(runtime.current().job)

    @property
    def node_id(self) -> Any:
        """The node's id as a NodeID; deprecated."""
        _deprecated("get_node_id()")
        return ids.NodeID.from_hex(self.get_node_id())

    @property
    def task_id(self) -> Any:
        """The running task's id as a TaskID; deprecated. AssertionError in a driver."""
        _deprecated("get_task_id()")
        _assert_worker()
        run = self._running()
        return None if run is None else ids.TaskID(_shown(run))

    @property
    def actor_id(self) -> Any:
        """This actor's id as an ActorID, or None; deprecated. AssertionError in a driver."""
        _deprecated("get_actor_id()")
        _assert_worker()
        actor = _actor()
        return None if actor is None else ids.ActorID.from_binary(actor.id)

    def get(self) -> dict[str, Any]:
        """The ids as a dict; deprecated."""
        _deprecated("get_xxx_id() methods to get relevant ids")
        found: dict[str, Any] = {
            "job_id": ids.JobID.from_int(runtime.current().job),
            "node_id": ids.NodeID.from_hex(self.get_node_id()),
            "namespace": self.namespace,
        }
        run, actor = self._running(), _actor()
        if run is not None:
            found["task_id"] = ids.TaskID(_shown(run))
        if actor is not None:
            found["actor_id"] = ids.ActorID.from_binary(actor.id)
        return found

    # -- what runs

    def _running(self) -> Any:
        return runtime.runs_task.get()

    def _running_in_worker(self) -> Any:
        if not runtime.current().is_worker:
            _warn_of_driver()
            return None
        return self._running()

    def get_task_name(self) -> str | None:
        """The running task's name: that of its options, or the function's; None in a driver."""
        run = self._running_in_worker()
        return None if run is None else run.name

    def get_task_function_name(self) -> str | None:
        """The function that runs, after its module; None in a driver."""
        run = self._running_in_worker()
        if run is None:
            return None
        actor = _actor()
        if actor is not None:
            return f"{_module_of(actor.value)}.{run.own_name}"
        function = run.function
        name = getattr(function, "__qualname__", None) or run.name
        return f"{_module_of(function)}.{str(name).rsplit('.', 1)[-1]}"

    def get_actor_name(self) -> str | None:
        """This actor's name: empty when it has none, None when this is no actor."""
        self._running_in_worker()
        actor = _actor()
        return None if actor is None else actor.meta.get("name") or ""

    @property
    def current_actor(self) -> Any:
        """A handle to this actor; RuntimeError when this is none."""
        actor = _actor()
        if actor is None:
            raise RuntimeError("This method is only available in an actor.")
        return runtime.current().make_handle(actor.meta, actor.id)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """True when this actor was restarted; AssertionError when this is none."""
        _assert_worker()
        actor = _actor()
        assert actor is not None, "This method should't be called inside Ray tasks."
        return bool(actor.incarnation > 0)

    def is_canceled(self) -> bool:
        """True when the running task was cancelled; RuntimeError in drivers and async actors."""
        rt = runtime.current()
        if not rt.is_worker:
            raise RuntimeError(_WORKER_ONLY)
        actor = _actor()
        if actor is not None and actor.is_async:
            raise RuntimeError("This method is not supported in an async actor.")
        run = self._running()
        return run is not None and bool(rt.client.is_cancelled(run.task))

    # -- what it was given

    def get_attempt_number(self) -> int:
        """Which run of this task or method this is: 0 is the first (Ray's shows it in its state API
        only). 0 in a driver.
        """
        run = self._running()
        return 0 if run is None else int(run.attempt)

    def get_assigned_resources(self) -> dict[str, float]:
        """What this task or actor was given; AssertionError in a driver."""
        _assert_worker()
        run = self._running()
        return {} if run is None else dict(run.resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The devices of the running task or actor by resource; of a driver, what it sees."""
        from polyray.accelerators import gpu_ids

        others = ("neuron_cores", "TPU", "HPU", "NPU", "RBLN", "FURIOSA", "MBLT", "TTNPU")
        return {"GPU": gpu_ids(), **{name: [] for name in others}}

    def get_resource_ids(self) -> dict[str, list[str]]:
        """The same by Ray's older name."""
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        """The labels of this node; `ray.io/node-id` among them."""
        rt = runtime.current()
        own = rt.place.node_id
        for row in rt.request("nodes")["nodes"]:
            if row["nodeId"] == own:
                return {"ray.io/node-id": own, **row["labels"]}
        return {"ray.io/node-id": own}

    def get_session_name(self) -> str:
        """The session's name."""
        return f"session-{runtime.current().place.session_id.removeprefix('polyray-')}"

    def get_temp_dir(self) -> str:
        """The folder of the sessions."""
        return os.path.dirname(runtime.current().place.session_dir)

    def get_placement_group_id(self) -> str | None:
        """The placement group that this task or actor runs in."""
        placed = parse(runtime.placement)
        return None if placed is None else str(placed["group"])

    @property
    def current_placement_group_id(self) -> Any:
        """The placement group that this task or actor runs in as a PlacementGroupID; nil: none."""
        found = self.get_placement_group_id()
        kind = ids.PlacementGroupID
        return kind.nil() if found is None else kind.from_hex(found)

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what is submitted here runs in the placement group of this task or actor."""
        return runtime.captured is not None

    def get_runtime_env_string(self) -> str:
        """The runtime environment of this process as JSON text."""
        import json

        return json.dumps(self.runtime_env, sort_keys=True)

    @property
    def runtime_env(self) -> Any:
        """The runtime environment of this process (a RuntimeEnv)."""
        from polyray.runtime_env.merging import current_env

        return current_env(runtime.current())

    def get_pid(self) -> int:
        """This process."""
        return os.getpid()


def _assert_worker() -> None:
    assert runtime.current().is_worker, _WORKER_ONLY


def _module_of(value: Any) -> str:
    module = str(getattr(value, "__module__", None) or "")
    if module != "__main__":
        return module
    # The driver's script: its functions know its file.
    for found in (value, *getattr(value, "__dict__", {}).values()):
        code = getattr(found, "__code__", None)
        if code is not None:
            return str(os.path.splitext(os.path.basename(code.co_filename))[0])
    return module


def _shown(run: Any) -> bytes:
    from polyray.actor_process import shown_task

    actor = _actor() if run.creates else None
    return shown_task(run.task) if actor is None else ids.creation_bytes(actor.id)


def _actor() -> Any:
    from polyray import actor_process

    return actor_process.running_actor()


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Who and where this code is."""
    runtime.current()
    return _context
