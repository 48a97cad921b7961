# SPDX-License-Identifier: Apache-2.0
"""Goal: a stream gives every item in order and only then ends, however far its producer is ahead.

Method: generators that yield more than a ring holds, read while they run and after they ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import polyray as ray
import pytest

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
