# SPDX-License-Identifier: Apache-2.0
"""Goal: actors whose threads or event loop take calls themselves run as many at once as they may,
answer each call once, and none waits for another that blocks.

Method: calls that wait for each other (a barrier, an event, a file), floods of short calls around
them, cancellations at any moment. A lost wake-up shows as a watchdog's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path

import polyray as ray
import pytest
from polyray.exceptions import GetTimeoutError, TaskCancelledError

pytestmark = pytest.mark.usefixtures("runtime")

WATCHDOG_S = 60


@ray.remote(num_cpus=0, max_concurrency=4)
class Threads:
    def __init__(self) -> None:
        self.barrier = threading.Barrier(4)
        self.told = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most = 0

    def same(self, value: int) -> int:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        with self.lock:
            self.running -= 1
        return value

    def meet(self) -> int:
        return self.barrier.wait(WATCHDOG_S)

    def listen(self) -> bool:
        return self.told.wait(WATCHDOG_S)

    def tell(self) -> None:
        self.told.set()

    def most_at_once(self) -> int:
        return self.most

    def threads(self) -> int:
        return sum(t.name.startswith("polyray-method") for t in threading.enumerate())


@ray.remote(num_cpus=0)
class Loop:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[str] = []

    async def same(self, value: int) -> int:
        return value

    async def turn(self) -> str:
        await asyncio.sleep(0)
        return "turned"

    async def hold(self, name: str) -> str:
        self.begun.append(name)
        await self.gate.wait()
        return name

    async def open(self) -> None:
        self.gate.set()

    async def began(self) -> list[str]:
        return self.begun

    async def block_until(self, path: str) -> bool:
        return until_exists(path)

    async def touch_elsewhere_and_block(self, path: str) -> bool:
        touch.remote(path)
        return until_exists(path)

    async def total(self, refs: list[object]) -> int:
        values = await asyncio.gather(*refs)
        return sum(values) + ray.get(add.remote(1, 1))


@ray.remote(num_cpus=0)
def touch(path: str) -> None:
    Path(path).touch()


@ray.remote(num_cpus=0)
def add(a: int, b: int) -> int:
    return a + b


def until_exists(path: str) -> bool:
    end = time.monotonic() + WATCHDOG_S
    while not os.path.exists(path):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.001)
    return True


def test_as_many_methods_run_at_once_as_there_are_threads_also_in_a_flood() -> None:
    actor = Threads.remote()
    for _ in range(20):
        before = [actor.same.remote(i) for i in range(50)]
        meeting = [actor.meet.remote() for _ in range(4)]
        after = [actor.same.remote(i) for i in range(50)]
        assert sorted(ray.get(meeting, timeout=WATCHDOG_S)) == [0, 1, 2, 3]
        assert ray.get(before + after, timeout=WATCHDOG_S) == [*range(50), *range(50)]
    assert ray.get(actor.most_at_once.remote()) <= 4
    assert ray.get(actor.threads.remote()) == 4


def test_a_method_that_waits_for_a_later_call_gets_it() -> None:
    actor = Threads.remote()
    waiting = [actor.listen.remote() for _ in range(3)]
    assert ray.get([actor.same.remote(i) for i in range(300)], timeout=WATCHDOG_S) == [*range(300)]
    with pytest.raises(GetTimeoutError):
        ray.get(waiting[0], timeout=0)
    ray.get(actor.tell.remote(), timeout=WATCHDOG_S)
    assert ray.get(waiting, timeout=WATCHDOG_S) == [True] * 3


def test_one_call_at_a_time_needs_few_threads() -> None:
    actor = Threads.options(max_concurrency=1000).remote()
    assert [ray.get(actor.same.remote(i), timeout=WATCHDOG_S) for i in range(300)] == [*range(300)]
    assert ray.get(actor.threads.remote()) < 10


def test_a_reply_does_not_wait_for_a_coroutine_that_blocks_the_loop(tmp_path: Path) -> None:
    actor = Loop.remote()
    path = str(tmp_path / "there")
    first = [actor.same.remote(i) for i in range(5)]
    blocked = actor.block_until.remote(path)
    later = actor.same.remote(6)
    assert ray.get(first, timeout=WATCHDOG_S) == [*range(5)]
    Path(path).touch()
    assert ray.get([blocked, later], timeout=WATCHDOG_S) == [True, 6]


def test_what_an_async_actor_submits_begins_though_its_loop_blocks(tmp_path: Path) -> None:
    actor = Loop.remote()
    for number in range(3):
        path = str(tmp_path / str(number))
        assert ray.get(actor.touch_elsewhere_and_block.remote(path), timeout=WATCHDOG_S)
    refs = [add.remote(i, i) for i in range(10)]
    assert ray.get(actor.total.remote(refs), timeout=WATCHDOG_S) == 92
    assert ray.get(actor.same.remote(1), timeout=WATCHDOG_S) == 1


def test_calls_above_the_limit_of_an_async_actor_begin_in_order() -> None:
    actor = Loop.options(max_concurrency=3).remote()
    held = [actor.hold.remote(str(i)) for i in range(2)]
    assert ray.get(actor.same.remote(1), timeout=WATCHDOG_S) == 1
    late = [actor.hold.remote(str(i)) for i in range(2, 6)]
    ray.cancel(late[1])
    with pytest.raises(TaskCancelledError):
        ray.get(late[1], timeout=WATCHDOG_S)
    ray.cancel(held[0])  # frees a place
    with pytest.raises(TaskCancelledError):
        ray.get(held[0], timeout=WATCHDOG_S)
    ray.cancel(held[1])
    with pytest.raises(TaskCancelledError):
        ray.get(held[1], timeout=WATCHDOG_S)
    ray.cancel(late[0])
    with pytest.raises(TaskCancelledError):
        ray.get(late[0], timeout=WATCHDOG_S)
    assert ray.get(actor.began.remote(), timeout=WATCHDOG_S) == ["0", "1", "2", "4", "5"]
    ray.get(actor.open.remote(), timeout=WATCHDOG_S)
    assert ray.get(late[2:], timeout=WATCHDOG_S) == ["4", "5"]


def test_each_coroutine_that_is_cancelled_at_any_moment_is_answered() -> None:
    actor = Loop.remote()
    for number in range(300):
        refs = [actor.turn.remote() for _ in range(1 + number % 4)]
        ray.cancel(refs[number % len(refs)])
        for ref in refs:
            with contextlib.suppress(TaskCancelledError):
                assert ray.get(ref, timeout=WATCHDOG_S) == "turned"


def test_actors_at_once_that_call_each_other_from_threads_and_loops() -> None:
    @ray.remote(num_cpus=0, max_concurrency=3)
    class Asks:
        def ask(self, loop: object, value: int) -> int:
            return ray.get(loop.same.remote(value)) + 1  # type: ignore[attr-defined]

    asks, loop = Asks.remote(), Loop.remote()
    values = ray.get([asks.ask.remote(loop, i) for i in range(300)], timeout=WATCHDOG_S)
    assert values == [*range(1, 301)]
