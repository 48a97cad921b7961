# SPDX-License-Identifier: Apache-2.0
"""Who and where this code is: get_runtime_context(), with Ray's names."""

from __future__ import annotations

import os
from typing import Any

from polyray import runtime


class RuntimeContext:
    """A look at the current runtime; ids are hexadecimal texts, None where they do not apply."""

    @property
    def namespace(self) -> str:
        """The namespace of this job."""
        return runtime.current().namespace()

    @property
    def gcs_address(self) -> str:
        """The address of the runtime."""
        return runtime.current().place.address

    @property
    def job_id(self) -> str:
        """The job's number."""
        return self.get_job_id()

    @property
    def node_id(self) -> str:
        """The node's id."""
        return self.get_node_id()

    @property
    def task_id(self) -> str | None:
        """The running task's id."""
        return self.get_task_id()

    @property
    def actor_id(self) -> str | None:
        """This actor's id."""
        return self.get_actor_id()

    def get_job_id(self) -> str:
        """The job's number as 8 hex digits."""
        return f"{runtime.current().job:08x}"

    def get_node_id(self) -> str:
        """The node's id."""
        return runtime.current().place.node_id

    def get_session_name(self) -> str:
        """The session's name."""
        return f"session-{runtime.current().place.session_id}"

    def get_temp_dir(self) -> str:
        """The session's folder."""
        return runtime.current().place.session_dir

    def get_worker_id(self) -> str:
        """A number of this process that the node never uses twice."""
        return f"{runtime.current().client.serial:08x}"

    def _running(self) -> Any:
        return runtime.runs_task.get()

    def get_task_id(self) -> str | None:
        """The running task's id."""
        run = self._running()
        return None if run is None else run.task.hex()

    def get_task_name(self) -> str | None:
        """The running task's name."""
        run = self._running()
        return None if run is None else run.name

    def get_task_function_name(self) -> str | None:
        """The function that runs."""
        return self.get_task_name()

    def get_actor_id(self) -> str | None:
        """This actor's id."""
        actor = _actor()
        return None if actor is None else actor.id.hex()

    def get_actor_name(self) -> str | None:
        """This actor's name; empty when it has none."""
        actor = _actor()
        return None if actor is None else actor.meta.get("name") or ""

    @property
    def current_actor(self) -> Any:
        """A handle to this actor."""
        actor = _actor()
        if actor is None:
            raise RuntimeError("current_actor is for methods of actors")
        return runtime.current().make_handle(actor.meta, actor.id)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """True when this actor was restarted."""
        actor = _actor()
        return actor is not None and actor.incarnation > 0

    def get_assigned_resources(self) -> dict[str, float]:
        """What this task or actor was given."""
        run = self._running()
        return {} if run is None else dict(run.resources)

    def is_canceled(self) -> bool:
        """True when the running task was cancelled."""
        run = self._running()
        return run is not None and bool(runtime.current().client.is_cancelled(run.task))

    def get_placement_group_id(self) -> str | None:
        """Placement groups are not built yet."""
        return None

    def get_pid(self) -> int:
        """This process."""
        return os.getpid()

    def get(self) -> dict[str, Any]:
        """The ids as a dict, as Ray's get()."""
        found = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "namespace": self.namespace,
        }
        if self.get_task_id() is not None:
            found["task_id"] = str(self.get_task_id())
        if self.get_actor_id() is not None:
            found["actor_id"] = str(self.get_actor_id())
        return found


def _actor() -> Any:
    from polyray import executor

    return executor.running_actor()


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """Who and where this code is."""
    runtime.current()
    return _context
