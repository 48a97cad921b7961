# SPDX-License-Identifier: Apache-2.0
"""Goal: a cancelled future of a ref disturbs no other future.

Method: some futures are cancelled before their tasks end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import polyray as ray
import pytest

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
def slow(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def test_a_cancelled_future_leaves_the_others() -> None:
    first, second = slow.remote(0.5, 1), slow.remote(0.6, 2)
    cancelled, same, other = first.future(), first.future(), second.future()
    assert cancelled.cancel()
    assert same.result(60) == 1
    assert other.result(60) == 2
    assert cancelled.cancelled()
    assert slow.remote(0, 3).future().result(60) == 3


def test_event_loops_that_come_and_go_leave_no_lock_behind() -> None:
    # What a finished loop still waited for is settled later, by the native thread.
    @ray.remote
    def later(value: int) -> int:
        time.sleep(0.02)
        return value

    @ray.remote
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    async def leaves() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(later.remote(1), 0.005)

    async def reads() -> int:
        return sum([await ref async for ref in numbers.remote(3)])

    for _ in range(60):
        asyncio.run(leaves())
        assert asyncio.run(reads()) == 3
