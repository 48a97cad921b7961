# SPDX-License-Identifier: Apache-2.0
"""Goal: a stream gives every item in order and only then ends, however far its producer is ahead.

Method: generators that yield more than a ring holds, read while they run and after they ended.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import polyray as ray
import pytest
from support import eventually

pytestmark = pytest.mark.usefixtures("runtime")

ITEMS = 600


@ray.remote
def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def test_no_item_of_a_fast_producer_is_lost() -> None:
    for _ in range(12):
        assert sum(1 for _ref in numbers.remote(ITEMS)) == ITEMS


def test_a_stream_read_after_its_end_is_whole_and_in_order() -> None:
    stream = numbers.remote(ITEMS)
    ready, _rest = ray.wait([stream.completed()], timeout=60)
    assert ready
    assert [ray.get(ref) for ref in stream] == list(range(ITEMS))


def test_several_streams_at_once_are_whole() -> None:
    streams = [numbers.remote(ITEMS) for _ in range(4)]
    assert [len(list(stream)) for stream in streams] == [ITEMS] * 4


def test_an_empty_stream_ends() -> None:
    assert list(numbers.remote(0)) == []


@ray.remote(_generator_backpressure_num_objects=1)
def held(counter: str, wait_for: list[object]) -> Iterator[int]:
    ray.get(wait_for[0])
    yield from range(5)
    with open(counter, "w") as file:
        file.write("ended")


def test_a_stream_dropped_before_its_task_was_sent_lets_the_producer_end(tmp_path: Path) -> None:
    done = tmp_path / "done"
    blockers = [blocker.remote(str(tmp_path / "go")) for _ in range(2)]  # no CPU is left
    stream = held.remote(str(done), [ray.put(1)])
    del stream
    gc.collect()
    (tmp_path / "go").touch()
    ray.get(blockers)
    eventually(done.exists, "the producer runs to its end")


@ray.remote
def blocker(path: str) -> None:
    eventually(lambda: os.path.exists(path), "the blocker may end")


@ray.remote(num_returns=3)
def some(fails: bool) -> Iterator[int]:
    yield 1
    yield 2
    if fails:
        raise ValueError("late")


def test_a_generator_of_several_returns_gives_what_it_yielded() -> None:
    first, second, third = some.remote(True)
    assert ray.get([first, second]) == [1, 2]
    with pytest.raises(ValueError, match="late"):
        ray.get(third)
    first, second, third = some.remote(False)
    assert ray.get([first, second]) == [1, 2]
    with pytest.raises(ValueError, match="Task returned 2 objects, but num_returns=3"):
        ray.get(third)
    assert ray.get(some.options(num_returns=2).remote(True)) == [1, 2]


def test_what_a_dynamic_generator_raises_is_its_last_ref() -> None:
    @ray.remote(num_returns="dynamic", max_retries=0)
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("late")

    first, last = ray.get(fails.remote())
    assert ray.get(first) == 1
    with pytest.raises(ValueError, match="late"):
        ray.get(last)
