# SPDX-License-Identifier: Apache-2.0
"""Goal: collective operations give every rank the same right result, whoever comes first.

Method: three actors on numpy arrays, small and larger than the size from which they work in slices;
a group made inside of the ranks and one made from outside; torch tensors where it is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polyray as ray
import pytest
from polyray.util import collective as col
from polyray.util.collective.types import Backend, ReduceOp

pytestmark = pytest.mark.usefixtures("runtime")
WORLD = 3


@ray.remote(num_cpus=0)
class Rank:
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def join(self, group: str, size: int = WORLD) -> tuple[int, int]:
        col.init_collective_group(size, self.rank, "gloo", group)
        return col.get_rank(group), col.get_collective_group_size(group)

    def run(self, call: str, shape: int, group: str, *rest: Any) -> Any:
        data = np.arange(shape, dtype=np.float64) + self.rank
        if call == "allgather":
            out = [np.zeros(shape) for _ in range(WORLD)]
            col.allgather(out, data, group)
            return out
        if call == "reducescatter":
            parts = [np.full(shape, float(self.rank + i)) for i in range(WORLD)]
            col.reducescatter(data, parts, group, *rest)
            return data
        getattr(col, call)(data, *rest[:1], group, *rest[1:]) if call in (
            "reduce", "broadcast"
        ) else getattr(col, call)(data, group, *rest)  # fmt: skip
        return data

    def ring(self, group: str) -> float:
        data = np.array([float(self.rank)])
        for _ in range(3):
            target, source = (self.rank + 1) % WORLD, (self.rank - 1) % WORLD
            col.send(data, target, group)
            col.recv(data, source, group)
        col.barrier(group)
        return float(data[0])

    def wrong(self, what: str, group: str) -> None:
        data = np.zeros(1)
        {
            "list": lambda: col.allreduce([1], group),
            "self": lambda: col.send(data, self.rank, group),
            "rank": lambda: col.recv(data, 9, group),
            "length": lambda: col.allgather([data], data, group),
            "again": lambda: col.init_collective_group(WORLD, self.rank, "gloo", group),
            "unknown": lambda: col.allreduce(data, "nowhere"),
        }[what]()

    def leave(self, group: str) -> int:
        col.destroy_collective_group(group)
        return col.get_rank(group)

    def torch_sum(self, group: str) -> list[float]:
        import torch

        tensor = torch.full((4,), float(self.rank))
        col.allreduce(tensor, group)
        return [float(value) for value in tensor]


@pytest.fixture(scope="module")
def ranks(runtime: ray.RayContext) -> list[Any]:
    made = [Rank.remote(rank) for rank in range(WORLD)]
    assert ray.get([actor.join.remote("g") for actor in made]) == [(0, 3), (1, 3), (2, 3)]
    return made


def everywhere(ranks: list[Any], call: str, shape: int, *rest: Any, group: str = "g") -> list[Any]:
    return ray.get([actor.run.remote(call, shape, group, *rest) for actor in ranks])


@pytest.mark.parametrize("shape", [5, 50_001])
def test_reductions_give_all_ranks_the_same(ranks: list[Any], shape: int) -> None:
    base = np.arange(shape, dtype=np.float64)
    wanted = {
        ReduceOp.SUM: 3 * base + 3,
        ReduceOp.MIN: base,
        ReduceOp.MAX: base + 2,
        ReduceOp.PRODUCT: base * (base + 1) * (base + 2),
    }
    for op, value in wanted.items():
        for found in everywhere(ranks, "allreduce", shape, op):
            np.testing.assert_array_equal(found, value)
    rooted = everywhere(ranks, "reduce", shape, 1)
    np.testing.assert_array_equal(rooted[1], wanted[ReduceOp.SUM])
    np.testing.assert_array_equal(rooted[0], base)
    for rank, found in enumerate(everywhere(ranks, "reducescatter", shape)):
        np.testing.assert_array_equal(found, np.full(shape, 3.0 * rank + 3))


@pytest.mark.parametrize("shape", [5, 50_001])
def test_arrays_are_spread_gathered_and_passed_round(ranks: list[Any], shape: int) -> None:
    base = np.arange(shape, dtype=np.float64)
    for found in everywhere(ranks, "broadcast", shape, 2):
        np.testing.assert_array_equal(found, base + 2)
    for found in everywhere(ranks, "allgather", shape):
        np.testing.assert_array_equal(np.stack(found), np.stack([base, base + 1, base + 2]))
    assert ray.get([actor.ring.remote("g") for actor in ranks]) == [0.0, 1.0, 2.0]


def test_a_group_is_made_from_outside_and_made_again(ranks: list[Any]) -> None:
    col.create_collective_group(ranks, WORLD, [2, 0, 1], backend="gloo", group_name="outside")
    for found in everywhere(ranks, "allreduce", 4, group="outside"):
        np.testing.assert_array_equal(found, 3 * np.arange(4.0) + 3)
    with pytest.raises(RuntimeError, match="twice"):
        col.create_collective_group(ranks, WORLD, [0, 1, 2], backend="gloo", group_name="outside")
    col.destroy_collective_group("outside")
    assert ray.get([actor.join.remote("again") for actor in ranks])[0] == (0, 3)
    assert ray.get([actor.leave.remote("again") for actor in ranks]) == [-1, -1, -1]
    assert ray.get([actor.join.remote("again") for actor in ranks])[2] == (2, 3)
    for found in everywhere(ranks, "allreduce", 2, group="again"):
        np.testing.assert_array_equal(found, [3.0, 6.0])


def test_mistakes_are_named(ranks: list[Any]) -> None:
    for what, error, text in (
        ("list", RuntimeError, "Unrecognized tensor type"),
        ("self", RuntimeError, "is self"),
        ("rank", ValueError, "must be less than world size"),
        ("length", RuntimeError, "must be equal to world_size"),
        ("again", RuntimeError, "a second time"),
        ("unknown", RuntimeError, "not initialized in the process"),
    ):
        with pytest.raises(error, match=text):
            ray.get(ranks[0].wrong.remote(what, "g"))
    with pytest.raises(RuntimeError, match="only used inside"):
        col.allreduce(np.zeros(1))
    with pytest.raises(RuntimeError, match="'2' ranks but '3' actors"):
        col.create_collective_group(ranks, WORLD, [0, 1], backend="gloo", group_name="x")
    with pytest.raises(RuntimeError, match="permutation"):
        col.create_collective_group(ranks, WORLD, [0, 1, 1], backend="gloo", group_name="x")
    with pytest.raises(ValueError, match="Unrecognized backend"):
        Backend("smoke")
    with pytest.raises(RuntimeError, match="NCCL and Cupy"):
        col.allreduce_multigpu([])
    assert (col.gloo_available(), col.nccl_available(), Backend("torch_gloo")) == (
        True, False, "GLOO"
    )  # fmt: skip


def test_torch_tensors_are_reduced_in_place(ranks: list[Any]) -> None:
    pytest.importorskip("torch")
    assert ray.get([actor.torch_sum.remote("g") for actor in ranks]) == [[3.0] * 4] * 3
