# SPDX-License-Identifier: Apache-2.0
"""ActorPool: hands values to idle actors, gives results in order or as they come.

Belongs to one thread. Invariants: (1) an actor is idle or has one call of the pool; (2) results of
get_next come in the order of submit, and every submit is given exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from polyray.actor import ActorHandle
from polyray.objects import get, wait

Submit = Callable[[ActorHandle, Any], Any]


class ActorPool:
    """A pool over handles that exist already."""

    def __init__(self, actors: Iterable[ActorHandle]) -> None:
        self._idle: deque[ActorHandle] = deque(actors)
        self._running: dict[Any, tuple[int, ActorHandle]] = {}
        self._by_number: dict[int, Any] = {}
        self._waiting: deque[tuple[Submit, Any]] = deque()
        self._next_number = 0
        self._next_given = 0

    def submit(self, fn: Submit, value: Any) -> None:
        """Run fn(actor, value), which gives a ref, on the next idle actor."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.popleft()
        ref = fn(actor, value)
        self._running[ref] = (self._next_number, actor)
        self._by_number[self._next_number] = ref
        self._next_number += 1

    def has_next(self) -> bool:
        """True when a result is to come."""
        return bool(self._running)

    def has_free(self) -> bool:
        """True when an actor is idle and nothing waits."""
        return bool(self._idle) and not self._waiting

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submit; TimeoutError when it is late."""
        if not self._running:
            raise StopIteration("the pool has no more results")
        while self._next_given not in self._by_number:
            self._next_given += 1  # given by get_next_unordered
        ref = self._by_number[self._next_given]
        if timeout is not None and not wait([ref], timeout=timeout)[0]:
            if ignore_if_timedout:
                self._take(ref)
            raise TimeoutError("the next result of the pool was not ready in time")
        self._take(ref)
        return get(ref)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Any result that is ready; TimeoutError when none is in time."""
        if not self._running:
            raise StopIteration("the pool has no more results")
        ready, _ = wait(list(self._running), num_returns=1, timeout=timeout)
        if not ready:
            raise TimeoutError("no result of the pool was ready in time")
        self._take(ready[0])
        return get(ready[0])

    def _take(self, ref: Any) -> None:
        number, actor = self._running.pop(ref)
        del self._by_number[number]
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def map(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Results in order."""
        for value in values:
            self.submit(fn, value)
        while self.has_next():
            yield self.get_next()

    def map_unordered(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Results as they come."""
        for value in values:
            self.submit(fn, value)
        while self.has_next():
            yield self.get_next_unordered()

    def push(self, actor: ActorHandle) -> None:
        """Add an idle actor."""
        if actor in self._idle or any(actor == held for _, held in self._running.values()):
            raise ValueError("the actor is in the pool already")
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def pop_idle(self) -> ActorHandle | None:
        """Take an idle actor out; None when there is none."""
        return self._idle.popleft() if self.has_free() else None
