# SPDX-License-Identifier: Apache-2.0
"""Goal: Dask graphs computed over the runtime give what Dask gives; hooks and options take effect.

Method: delayed calls, bags, arrays and hand-written graphs against one runtime; needs dask.
"""

from __future__ import annotations

import os
from typing import Any

import polyray as ray
import pytest

dask = pytest.importorskip("dask")

from polyray.util.dask import (  # noqa: E402 - after the skip
    ProgressBarCallback,
    RayDaskCallback,
    disable_dask_on_ray,
    enable_dask_on_ray,
    ray_dask_get,
    ray_dask_get_sync,
    ray_dask_persist,
)

pytestmark = pytest.mark.usefixtures("runtime")


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def test_graphs_are_computed_in_workers() -> None:
    graph: dict[str, Any] = {"a": 1, "b": (inc, "a"), "c": (add, "a", "b"), "d": "c",
                             "pid": (os.getpid,), "l": (sum, ["a", "b", "c"])}  # fmt: skip
    assert ray_dask_get(graph, "c") == 3
    assert ray_dask_get(graph, ["c", ["b", "d"], "l"]) == (3, (2, 3), 6)
    assert ray_dask_get_sync(graph, ["c"]) == (3,)
    assert ray_dask_get(graph, "pid") != os.getpid()
    chain: dict[str, Any] = {"x0": 0, **{f"x{i}": (inc, f"x{i - 1}") for i in range(1, 200)}}
    assert ray_dask_get(chain, "x199") == 199
    with pytest.raises(ZeroDivisionError):
        ray_dask_get({"z": (lambda: 1 / 0,)}, "z")
    with pytest.raises(ValueError, match="resources"):
        ray_dask_get(graph, "c", resources={"CPU": 1})


def test_collections_compute_with_the_scheduler() -> None:
    total = dask.delayed(sum)([dask.delayed(inc)(i) for i in range(5)])
    assert total.compute(scheduler=ray_dask_get) == 15
    with enable_dask_on_ray():
        assert dask.config.get("scheduler") is ray_dask_get
        assert dask.compute(total, dask.delayed(add)(1, 2)) == (15, 3)
    enable_dask_on_ray()
    assert total.compute() == 15
    disable_dask_on_ray()
    assert dask.config.get("scheduler", None) is None


def test_arrays_are_computed() -> None:
    array = pytest.importorskip("dask.array")
    import numpy as np

    ones = array.ones((40, 40), chunks=(20, 20))
    assert (ones + ones.T).sum().compute(scheduler=ray_dask_get) == 3200
    found = (ones @ ones).compute(scheduler=ray_dask_get)
    np.testing.assert_array_equal(found, np.full((40, 40), 40.0))


def test_persisted_values_stay_in_the_store() -> None:
    (kept,) = ray_dask_persist(dask.delayed(inc)(1))
    assert isinstance(next(iter(kept.__dask_graph__().values())), ray.ObjectRef) or kept.compute(
        scheduler=ray_dask_get
    ) == 2  # fmt: skip
    assert dask.delayed(inc)(kept).compute(scheduler=ray_dask_get) == 3


def test_options_of_tasks_come_from_arguments_and_annotations() -> None:
    def resources() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    call = dask.delayed(resources, pure=False)
    assert call().compute(scheduler=ray_dask_get, ray_remote_args={"num_cpus": 2}) == {"CPU": 2.0}
    with dask.annotate(ray_remote_args={"resources": {"alice": 0.5}}):
        placed = call()
    found = placed.compute(scheduler=ray_dask_get, optimize_graph=False)
    assert found == {"CPU": 1.0, "alice": 0.5}


def test_hooks_see_each_step() -> None:
    seen: list[Any] = []
    graph: dict[str, Any] = {"a": (inc, 1), "b": (inc, "a")}

    class Steps(RayDaskCallback):
        def _ray_presubmit(self, task: Any, key: str, deps: Any) -> Any:
            return 100 if key == "a" else None

        def _ray_postsubmit(self, task: Any, key: str, deps: Any, object_ref: Any) -> None:
            seen.append(("submitted", key, isinstance(object_ref, ray.ObjectRef)))

        def _ray_postsubmit_all(self, object_refs: Any, dsk: Any) -> None:
            seen.append(("all", len(object_refs)))

        def _ray_finish(self, result: Any) -> None:
            seen.append(("finished", result))

    for compute in (ray_dask_get, ray_dask_get_sync):
        seen.clear()
        with Steps():
            assert compute(graph, "b") == 101
        assert seen == [("submitted", "b", True), ("all", 1), ("finished", 101)]
    assert ray_dask_get(graph, "b") == 3
    print_key = RayDaskCallback(ray_pretask=lambda key, refs: key, ray_posttask=_checked)
    assert ray_dask_get(graph, "b", ray_callbacks=[print_key]) == 3
    with ProgressBarCallback() as bar:
        ray_dask_get(graph, "b")
    assert bar.submitted == 2


def _checked(key: str, result: int, state: str) -> None:
    assert state == key
    assert result in (2, 3)
