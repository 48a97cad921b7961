# SPDX-License-Identifier: Apache-2.0
"""Dask over a runtime: `enable_dask_on_ray()`, or `compute(scheduler=ray_dask_get)`.

Each task of a graph is a task of the runtime; values between them stay in the store. Needs dask.
"""

from __future__ import annotations

from typing import Any

import dask

from polyray.util.dask.callbacks import (
    ProgressBarCallback,
    RayDaskCallback,
    local_ray_callbacks,
    unpack_ray_callbacks,
)
from polyray.util.dask.scheduler import (
    disable_dask_on_ray,
    enable_dask_on_ray,
    ray_dask_get,
    ray_dask_get_sync,
)

__all__ = [
    "ProgressBarCallback",
    "RayDaskCallback",
    "dataframe_optimize",
    "disable_dask_on_ray",
    "enable_dask_on_ray",
    "local_ray_callbacks",
    "ray_dask_get",
    "ray_dask_get_sync",
    "ray_dask_persist",
    "unpack_ray_callbacks",
]


def ray_dask_persist(*args: Any, **kwargs: Any) -> Any:
    """dask.persist() whose values stay in the store: the collections hold refs."""
    kwargs.setdefault("scheduler", ray_dask_get)
    return dask.persist(*args, ray_persist=True, **kwargs)


def dataframe_optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Accepted for Ray's programs (`dataframe_optimize=` of dask.config): the graph as it is."""
    return dsk
