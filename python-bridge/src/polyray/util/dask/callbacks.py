# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the Dask scheduler: dask's own hooks and six more, around the submission of tasks
(in this process) and around the tasks themselves (in the workers).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from dask.callbacks import Callback

CBS = (
    "ray_presubmit",
    "ray_postsubmit",
    "ray_pretask",
    "ray_posttask",
    "ray_postsubmit_all",
    "ray_finish",
)


class RayCallback(NamedTuple):
    """The hooks of one callback; None for those that it has not."""

    ray_presubmit: Any
    ray_postsubmit: Any
    ray_pretask: Any
    ray_posttask: Any
    ray_postsubmit_all: Any
    ray_finish: Any


class RayCallbacks(NamedTuple):
    """The hooks of several callbacks, by name."""

    ray_presubmit_cbs: list[Any]
    ray_postsubmit_cbs: list[Any]
    ray_pretask_cbs: list[Any]
    ray_posttask_cbs: list[Any]
    ray_postsubmit_all_cbs: list[Any]
    ray_finish_cbs: list[Any]


class RayDaskCallback(Callback):  # type: ignore[misc]
    """Hooks as keyword arguments, or as methods of a subclass with an underscore before the name.

    ray_presubmit(task, key, deps) (what it gives is used instead of the task, unless None),
    ray_postsubmit(task, key, deps, object_ref), ray_pretask(key, object_refs) (gives a state),
    ray_posttask(key, result, pre_state), ray_postsubmit_all(object_refs, dsk), ray_finish(result).
    """

    ray_active: ClassVar[list[RayCallback]] = []

    def __init__(self, **kwargs: Any) -> None:
        for name in CBS:
            hook = kwargs.pop(name, None)
            if hook is not None:
                setattr(self, f"_{name}", hook)
        super().__init__(**kwargs)

    @property
    def _ray_callback(self) -> RayCallback:
        return RayCallback(*[getattr(self, f"_{name}", None) for name in CBS])

    def __enter__(self) -> RayDaskCallback:
        self._entered = self._ray_callback
        RayDaskCallback.ray_active.append(self._entered)
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        RayDaskCallback.ray_active.remove(self._entered)

    def register(self) -> None:
        """Use it for all computations from now on."""
        RayDaskCallback.ray_active.append(self._ray_callback)
        super().register()

    def unregister(self) -> None:
        """Use it no more."""
        RayDaskCallback.ray_active.remove(self._ray_callback)
        super().unregister()


@contextlib.contextmanager
def local_ray_callbacks(callbacks: Any = None) -> Iterator[list[RayCallback]]:
    """The callbacks that hold here: those given, or the active ones."""
    if callbacks is None:
        yield list(RayDaskCallback.ray_active)
        return
    given = callbacks if isinstance(callbacks, (list, tuple, set)) else [callbacks]
    yield [c._ray_callback if isinstance(c, RayDaskCallback) else c for c in given]


def unpack_ray_callbacks(callbacks: Any) -> RayCallbacks:
    """Lists of the hooks by name."""
    return RayCallbacks(
        *[[hook for c in callbacks if (hook := getattr(c, name)) is not None] for name in CBS]
    )


class ProgressBarCallback(RayDaskCallback):
    """Prints how many tasks were submitted, and that all are done, to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted = 0

    def _ray_postsubmit(self, task: Any, key: Any, deps: Any, object_ref: Any) -> None:
        self.submitted += 1

    def _ray_finish(self, result: Any) -> None:
        sys.stderr.write(f"dask: {self.submitted}/{self.submitted} tasks\n")
