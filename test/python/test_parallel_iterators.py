# SPDX-License-Identifier: Apache-2.0
"""Goal: polyray.util.iter gives the items that Ray's parallel iterators give, in the same order.

Method: small iterators against one runtime; expectations were compared with Ray (test/parity).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray.util import iter as par

pytestmark = pytest.mark.usefixtures("runtime")


def test_items_come_in_turns_across_blocks_or_as_they_come() -> None:
    assert list(par.from_items([1, 2, 3, 4]).for_each(lambda x: x * 2).gather_sync()) == [
        2,
        4,
        6,
        8,
    ]
    uneven = [range(3), range(1)]
    assert list(par.from_iterators(uneven).gather_sync()) == [0, 0, 1, 2]
    assert list(par.from_iterators(uneven).batch_across_shards()) == [[0, 0], [1], [2]]
    assert sorted(par.from_range(10).gather_async()) == list(range(10))
    assert sorted(par.from_range(10).gather_async(batch_ms=5, num_async=2)) == list(range(10))
    pairs = par.from_range(4, 2).gather_async().zip_with_source_actor()
    assert len({actor for actor, _ in pairs}) == 2
    assert par.from_items([1, 2], num_shards=1, repeat=True).take(5) == [1, 2, 1, 2, 1]
    assert list(par.from_iterators([lambda: (x for x in range(3))]).gather_sync()) == [0, 1, 2]


def test_steps_run_in_the_shards() -> None:
    one = par.from_range(7, 1)
    assert list(one.batch(3).gather_sync()) == [[0, 1, 2], [3, 4, 5], [6]]
    assert par.from_range(7, 1).batch(3).flatten().take(4) == [0, 1, 2, 3]
    assert list(par.from_range(3, 1).combine(lambda x: [x, x]).gather_sync()) == [0, 0, 1, 1, 2, 2]
    assert par.from_range(10, 1).filter(lambda x: x % 2 == 0).take(3) == [0, 2, 4]
    shuffled = list(par.from_range(10, 1).local_shuffle(4, seed=1).gather_sync())
    assert shuffled == [1, 0, 4, 2, 7, 8, 9, 6, 5, 3]
    in_tasks = par.from_range(4, 1).for_each(lambda x: x * 2, max_concurrency=2)
    assert sorted(in_tasks.gather_sync()) == [0, 2, 4, 6]

    def plus_one(items: Iterator[int]) -> Iterator[int]:
        return (item + 1 for item in items)

    assert list(par.from_range(3, 1).transform(plus_one).gather_sync()) == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        list(par.from_range(3, 1).for_each(lambda x: 1 / x).gather_sync())


def test_shards_are_read_alone_dealt_anew_and_joined() -> None:
    assert [list(s) for s in par.from_range(10, 2).shards()] == [
        [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]
    ]  # fmt: skip
    dealt = [sorted(s) for s in par.from_range(8, 2).repartition(3).shards()]
    assert dealt == [[0, 3, 4, 7], [1, 5], [2, 6]]
    joined = par.from_range(3, 1).union(par.from_range(2, 1))
    assert sorted(joined.gather_sync()) == [0, 0, 1, 1, 2]
    assert joined.num_shards() == 2
    kept = par.from_range(9, 3).select_shards([0, 2])
    assert list(kept.gather_sync()) == [0, 6, 1, 7, 2, 8]

    @ray.remote
    def consume(shard: Any) -> int:
        return sum(shard)

    sums = ray.get([consume.remote(shard) for shard in par.from_range(10, 2).shards()])
    assert sums == [10, 35]


def test_local_iterators_join_copy_and_count(capsys: pytest.CaptureFixture[str]) -> None:
    def local() -> par.LocalIterator:
        return par.from_range(9, 1).gather_sync()

    both = local().union(local(), round_robin_weights=[2, 1])
    assert both.take(6) == [0, 1, 0, 2, 3, 1]
    assert sorted(local().union(local(), deterministic=True)) == sorted([*range(9), *range(9)])
    assert sorted(local().union(local())) == sorted([*range(9), *range(9)])
    assert list(local().for_each(lambda x: -x).batch(5)) == [[0, -1, -2, -3, -4], [-5, -6, -7, -8]]
    first, second = local().duplicate(2)
    found: list[list[int]] = [[], []]
    for _ in range(9):
        for copy, out in ((first, found[0]), (second, found[1])):
            item = next(copy)
            while isinstance(item, par._NextValueNotReady):
                item = next(copy)
            out.append(item)
    assert found == [list(range(9))] * 2

    def counted(item: int) -> int:
        metrics = par.LocalIterator.get_metrics()
        metrics.counters["seen"] += 1
        return metrics.counters["seen"]

    assert local().for_each(counted).take(3) == [1, 2, 3]
    par.from_range(3, 1).show(2)
    assert capsys.readouterr().out == "0\n1\n"


def test_names_and_mistakes() -> None:
    made = par.from_items([1, 2, 3]).for_each(lambda x: x).batch(2)
    assert repr(made) == "ParallelIterator[from_items[int, 3, shards=2].for_each().batch(2)]"
    name = "LocalIterator[ParallelIterator[from_range[3, shards=1]].gather_sync().filter()]"
    assert repr(par.from_range(3, 1).gather_sync().filter(bool)) == name
    three = par.from_range(9, 3)
    with pytest.raises(TypeError, match="gather_sync"):
        list(three)
    with pytest.raises(TypeError, match="other must be"):
        three.union([1])  # type: ignore[arg-type]
    for wrong in (
        lambda: three.get_shard(5),
        lambda: three.get_shard(0, num_async=0),
        lambda: three.get_shard(0, batch_ms=-1),
        lambda: three.select_shards([]),
        lambda: three.union(three).select_shards([0]),
        lambda: three.gather_async(num_async=0),
        lambda: three.gather_sync().duplicate(1),
        lambda: three.gather_async(batch_ms=-1),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong()
