# SPDX-License-Identifier: Apache-2.0
"""Goal: GPUs are logical where there is no device: numbers, shares, variables; threads of numeric
libraries follow num_cpus.

Method: one runtime with two GPUs of no device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from support import eventually, run_program


@pytest.fixture(scope="module", autouse=True)
def two_gpus() -> Iterator[None]:
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with ray.init(num_cpus=4, num_gpus=2, resources={"alice": 1}):
        yield


@ray.remote
class Gate:
    """Opens when enough have come."""

    def __init__(self) -> None:
        self.came = 0

    def come(self) -> None:
        self.came += 1

    def count(self) -> int:
        return self.came


@ray.remote
def seen(gate: Any = None, wanted: int = 1) -> tuple[Any, ...]:
    if gate is not None:
        ray.get(gate.come.remote())
        eventually(lambda: ray.get(gate.count.remote()) >= wanted, "all came")
    context = ray.get_runtime_context()
    return (
        ray.get_gpu_ids(),
        os.environ.get("CUDA_VISIBLE_DEVICES"),
        context.get_accelerator_ids()["GPU"],
        context.get_assigned_resources().get("GPU"),
    )


def test_whole_gpus_are_apart() -> None:
    gate = Gate.remote()
    task = seen.options(num_gpus=1, num_cpus=0)
    both = sorted(ray.get([task.remote(gate, 2) for _ in range(2)]))
    assert both == [([0], "0", ["0"], 1.0), ([1], "1", ["1"], 1.0)]
    assert ray.get(seen.options(num_gpus=2).remote()) == ([0, 1], "0,1", ["0", "1"], 2.0)


def test_parts_share_a_gpu_and_fill_it_first() -> None:
    gate = Gate.remote()
    task = seen.options(num_gpus=0.5, num_cpus=0)
    found = sorted(ray.get([task.remote(gate, 4) for _ in range(4)]))
    assert [one[0] for one in found] == [[0], [0], [1], [1]]


def test_parts_that_fit_in_sum_only_wait() -> None:
    gate = Gate.remote()
    big = [seen.options(num_gpus=0.75, num_cpus=0).remote(gate, 3) for _ in range(2)]
    eventually(lambda: ray.get(gate.count.remote()) == 2, "both big ones run")
    half = seen.options(num_gpus=0.5, num_cpus=0).remote()
    assert ray.wait([half], timeout=0.3)[0] == []
    ray.get(gate.come.remote())
    assert sorted(one[0] for one in ray.get(big)) == [[0], [1]]
    assert ray.get(half)[0] in ([0], [1])


def test_tasks_without_gpus_see_none_and_the_driver_too() -> None:
    for _ in range(3):
        assert ray.get(seen.remote()) == ([], None, [], None)
    assert ray.get_gpu_ids() == []


def test_actors_keep_theirs_and_give_them_back() -> None:
    @ray.remote(num_gpus=1)
    class Holder:
        def seen(self) -> tuple[Any, ...]:
            return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

    holders = [Holder.remote() for _ in range(2)]
    assert sorted(ray.get([one.seen.remote() for one in holders])) == [([0], "0"), ([1], "1")]
    eventually(lambda: "GPU" not in ray.available_resources(), "no GPU is left")
    del holders
    assert ray.get(seen.options(num_gpus=2).remote())[0] == [0, 1]
    eventually(lambda: ray.available_resources().get("GPU") == 2, "both are free")


def test_a_waiting_task_gives_back_its_cpus_only() -> None:
    @ray.remote(num_gpus=2, num_cpus=4)
    def outer() -> tuple[Any, ...]:
        free = ray.get(inner.remote())
        return free, ray.get_gpu_ids()

    @ray.remote(num_cpus=1)
    def inner() -> dict[str, float]:
        return ray.available_resources()

    free, own = ray.get(outer.remote())
    assert "GPU" not in free
    assert free["CPU"] == 3
    assert own == [0, 1]


def test_threads_of_numeric_libraries_follow_the_cpus() -> None:
    @ray.remote
    def threads() -> list[str | None]:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return [os.environ.get(name) for name in names]

    assert ray.get(threads.remote()) == ["1"] * 3
    assert ray.get(threads.options(num_cpus=3).remote()) == ["3"] * 3
    assert ray.get(threads.options(num_cpus=0.5).remote()) == ["1"] * 3
    own = threads.options(runtime_env={"env_vars": {"OMP_NUM_THREADS": "9"}}, num_cpus=2)
    assert ray.get(own.remote()) == ["9", "2", "2"]

    @ray.remote
    class Plain:
        def threads(self) -> str | None:
            return os.environ.get("OMP_NUM_THREADS")

    assert ray.get(Plain.remote().threads.remote()) == "1"
    assert ray.get(Plain.options(num_cpus=2).remote().threads.remote()) == "2"


def test_visible_devices_of_the_node_name_the_gpus() -> None:
    done = run_program(
        "import os, polyray as ray\n"
        "ray.init(num_cpus=2, num_gpus=2)\n"
        "@ray.remote(num_gpus=1)\n"
        "def f(): return ray.get_gpu_ids(), os.environ['CUDA_VISIBLE_DEVICES']\n"
        "@ray.remote\n"
        "def g(): return os.environ['CUDA_VISIBLE_DEVICES']\n"
        "print(ray.get(f.remote()), ray.get(g.remote()))\n",
        env={"CUDA_VISIBLE_DEVICES": "4,7"},
    )
    assert done.stdout.strip() == "([4], '4') 4,7"
