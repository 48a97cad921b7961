# SPDX-License-Identifier: Apache-2.0
"""What a task's amounts mean inside its worker: the numbers of its GPUs, the variables that show
them to libraries, and the number of threads of numeric libraries.

Variables that the user set for threads are left alone; CUDA_VISIBLE_DEVICES of the node names the
devices when it was set. A worker without GPUs keeps the variable as it found it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from polyray import runtime

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_found: dict[str, Any] = {}


def lane_of(resources: Mapping[str, float]) -> tuple[int, bool]:
    """Threads of numeric libraries, and whether there are GPUs: what changes between tasks."""
    return max(1, int(resources.get("CPU") or 1)), bool(resources.get("GPU"))


def enter(client: Any, lane: tuple[int, bool]) -> None:
    """Set the variables for a task of this lane; called before user code."""
    if not _found:
        _found["visible"] = os.environ.get(_VISIBLE)
        _found["threads"] = [name for name in _THREADS if name not in os.environ]
    for name in _found["threads"]:
        os.environ[name] = str(lane[0])
    if lane[1]:
        os.environ[_VISIBLE] = ",".join(_ids(client))
    elif _found["visible"] is None:
        os.environ.pop(_VISIBLE, None)
    else:
        os.environ[_VISIBLE] = _found["visible"]


def _ids(client: Any) -> list[str]:
    mask = client.devices
    numbers = [number for number in range(64) if mask >> number & 1]
    named = [one for one in (_found.get("visible") or "").split(",") if one.strip()]
    return [named[n] if n < len(named) else str(n) for n in numbers]


def gpu_ids() -> list[str]:
    """The GPUs of the running task or actor, as texts; none in a driver."""
    rt = runtime.current()
    run = runtime.runs_task.get()
    if not rt.is_worker or run is None or not run.resources.get("GPU"):
        return []
    return _ids(rt.client)


def get_gpu_ids() -> list[Any]:
    """The GPUs of the running task or actor: whole numbers where the node counts them so."""
    return [int(one) if one.isdigit() else one for one in gpu_ids()]
