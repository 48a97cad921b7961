# SPDX-License-Identifier: Apache-2.0
"""Queue: first in, first out, between tasks and actors, held by one asynchronous actor.

Raises Empty and Full of the standard library's queue module. A Queue is a value: it can be passed
to tasks and actors.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping
from typing import Any

from polyray.actor import kill
from polyray.objects import get
from polyray.remote_function import remote


class Empty(queue.Empty):
    """Nothing is in the queue."""


class Full(queue.Full):
    """The queue has no room."""


class _QueueActor:
    def __init__(self, maxsize: int) -> None:
        import asyncio

        self.items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def size(self) -> int:
        return self.items.qsize()

    async def put(self, item: Any, timeout: float | None) -> bool:
        import asyncio

        try:
            await asyncio.wait_for(self.items.put(item), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True

    async def put_all(self, items: list[Any]) -> bool:
        room = self.items.maxsize - self.items.qsize()
        if self.items.maxsize > 0 and room < len(items):
            return False
        for item in items:
            self.items.put_nowait(item)
        return True

    async def get(self, timeout: float | None) -> tuple[bool, Any]:
        import asyncio

        try:
            return True, await asyncio.wait_for(self.items.get(), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            return False, None

    async def get_all(self, count: int) -> list[Any] | None:
        if self.items.qsize() < count:
            return None
        return [self.items.get_nowait() for _ in range(count)]


class Queue:
    """A queue of at most `maxsize` items (0: no bound)."""

    def __init__(self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor = remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items are in it."""
        return int(get(self.actor.size.remote()))

    qsize = size

    def empty(self) -> bool:
        """True when nothing is in it."""
        return self.size() == 0

    def full(self) -> bool:
        """True when it has no room."""
        return self.maxsize > 0 and self.size() >= self.maxsize

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; Full when there is no room in time."""
        if not get(self.actor.put.remote(item, _limit(block, timeout))):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item; Empty when there is none in time."""
        found, item = get(self.actor.get.remote(_limit(block, timeout)))
        if not found:
            raise Empty
        return item

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """put() for coroutines."""
        if not await self.actor.put.remote(item, _limit(block, timeout)):
            raise Full

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """get() for coroutines."""
        found, item = await self.actor.get.remote(_limit(block, timeout))
        if not found:
            raise Empty
        return item

    def put_nowait(self, item: Any) -> None:
        """Put without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Take without waiting."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Put all of them or none."""
        if not get(self.actor.put_all.remote(list(items))):
            raise Full

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take so many or none."""
        items = get(self.actor.get_all.remote(num_items))
        if items is None:
            raise Empty
        return list(items)

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue; what is in it is lost."""
        kill(self.actor)


def _limit(block: bool, timeout: float | None) -> float | None:
    if not block:
        return 0.001  # a turn of the actor's loop
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must not be negative: {timeout}")
    return timeout
