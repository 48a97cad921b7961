# SPDX-License-Identifier: Apache-2.0
"""Queue: first in, first out, between tasks and actors, held by one asynchronous actor.

Raises Empty and Full, which are those of the standard library's queue module too. A Queue is a
value: it can be passed to tasks and actors. Order between several producers that wait is not kept.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping
from typing import Any

from polyray.actor import kill
from polyray.objects import get, wait
from polyray.remote_function import remote


class Empty(queue.Empty):
    """Nothing is in the queue."""


class Full(queue.Full):
    """The queue has no room."""


class _QueueActor:
    def __init__(self, maxsize: int) -> None:
        import asyncio

        self.maxsize = maxsize
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        return self.queue.qsize()

    def empty(self) -> bool:
        return self.queue.empty()

    def full(self) -> bool:
        return self.queue.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        import asyncio

        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full from None

    async def get(self, timeout: float | None = None) -> Any:
        import asyncio

        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty from None

    def put_nowait(self, item: Any) -> None:
        self.queue.put_nowait(item)

    def get_nowait(self) -> Any:
        return self.queue.get_nowait()

    def put_nowait_batch(self, items: list[Any]) -> None:
        size = self.qsize()
        if 0 < self.maxsize < size + len(items):
            raise Full(
                f"Cannot add {len(items)} items to queue of size {size} and maxsize {self.maxsize}."
            )
        for item in items:
            self.queue.put_nowait(item)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        if num_items > self.qsize():
            raise Empty(f"Cannot get {num_items} items from queue of size {self.qsize()}.")
        return [self.queue.get_nowait() for _ in range(num_items)]


class Queue:
    """A queue of at most `maxsize` items (0: no bound).

    `actor_options` are options of the actor that holds it, such as `{"num_cpus": 1}`.
    """

    def __init__(self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor: Any = remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items are in it."""
        return int(get(self.actor.qsize.remote()))

    def qsize(self) -> int:
        """How many items are in it."""
        return self.size()

    def empty(self) -> bool:
        """True when nothing is in it."""
        return bool(get(self.actor.empty.remote()))

    def full(self) -> bool:
        """True when it has no room."""
        return bool(get(self.actor.full.remote()))

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; Full when there is no room (within `timeout` seconds)."""
        try:
            get(self._put(item, block, timeout))
        except _full():
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first item; Empty when there is none (within `timeout` seconds)."""
        try:
            return get(self._get(block, timeout))
        except _empty():
            raise Empty from None

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """put() for coroutines."""
        try:
            await self._put(item, block, timeout)
        except _full():
            raise Full from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """get() for coroutines."""
        try:
            return await self._get(block, timeout)
        except _empty():
            raise Empty from None

    def _put(self, item: Any, block: bool, timeout: float | None) -> Any:
        if not block:
            return self.actor.put_nowait.remote(item)
        return self.actor.put.remote(item, _checked(timeout))

    def _get(self, block: bool, timeout: float | None) -> Any:
        if not block:
            return self.actor.get_nowait.remote()
        return self.actor.get.remote(_checked(timeout))

    def put_nowait(self, item: Any) -> None:
        """put() that does not wait."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """get() that does not wait."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Put all items or, when they do not fit, none: Full."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        get(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take so many items or, when fewer are there, none: Empty."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        return list(get(self.actor.get_nowait_batch.remote(num_items)))

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; what is in it is lost.

        Its queued calls still run for `grace_period_s` seconds, unless `force`.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force and wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)[0]:
            return
        kill(actor, no_restart=True)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout


def _full() -> tuple[type[BaseException], ...]:
    import asyncio

    return (asyncio.QueueFull,)


def _empty() -> tuple[type[BaseException], ...]:
    import asyncio

    return (asyncio.QueueEmpty,)
