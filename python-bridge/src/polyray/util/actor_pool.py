# SPDX-License-Identifier: Apache-2.0
"""ActorPool: hands values to idle actors, gives results in order or as they come.

Belongs to one thread. Invariants: (1) an actor is idle or has one call of the pool; (2) a result is
given once, or ignored once; (3) an actor that died does not come back to the idle ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from polyray.actor import ActorHandle
from polyray.exceptions import ActorDiedError
from polyray.objects import get, wait

Submit = Callable[[ActorHandle, Any], Any]
_LATE = "Timed out waiting for result"


class ActorPool:
    """A pool over a list of handles that exist already."""

    def __init__(self, actors: Iterable[ActorHandle]) -> None:
        self._idle_actors: list[ActorHandle] = list(actors)
        self._running: dict[Any, tuple[int, ActorHandle]] = {}  # what fn gave -> number, actor
        self._results: dict[int, Any] = {}  # number -> what fn gave
        self._pending_submits: deque[tuple[Submit, Any]] = deque()
        self._submitted = 0
        self._given = 0

    def submit(self, fn: Submit, value: Any) -> None:
        """Run fn(actor, value), which gives a ref, on an idle actor, or when one is idle again."""
        if not self._idle_actors:
            self._pending_submits.append((fn, value))
            return
        actor = self._idle_actors.pop()
        result = fn(actor, value)
        self._running[_key(result)] = (self._submitted, actor)
        self._results[self._submitted] = result
        self._submitted += 1

    def has_next(self) -> bool:
        """True when a result is to come."""
        return bool(self._running)

    def has_free(self) -> bool:
        """True when an actor is idle and nothing waits for one."""
        return bool(self._idle_actors) and not self._pending_submits

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submit.

        Raises StopIteration when none is to come, TimeoutError after `timeout` seconds (with
        `ignore_if_timedout` that result is skipped), ValueError after get_next_unordered() took it,
        and what the call raised.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        if self._given >= self._submitted:
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        result = self._results[self._given]
        late = timeout is not None and not wait([result], timeout=timeout)[0]
        if late and not ignore_if_timedout:
            raise TimeoutError(_LATE)
        return self._take(_key(result), late)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Any result that is ready; raises as get_next()."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        ready, _ = wait(list(self._running), num_returns=1, timeout=timeout)
        if ready:
            return self._take(ready[0], False)
        if not ignore_if_timedout:
            raise TimeoutError(_LATE)
        return self._take(next(iter(self._running)), True)

    def _take(self, key: Any, ignored: bool) -> Any:
        number, actor = self._running.pop(key)
        result = self._results.pop(number)
        self._given = max(self._given, number + 1)
        if ignored:
            self._return_actor(actor)
            raise TimeoutError(f"{_LATE}. The task {result} has been ignored.")
        alive = True
        try:
            return get(result)
        except ActorDiedError:
            alive = False
            raise
        finally:
            self._return_actor(actor, alive)

    def _return_actor(self, actor: ActorHandle, is_alive: bool = True) -> None:
        if is_alive:
            self._idle_actors.append(actor)
        if self._pending_submits and self._idle_actors:
            self.submit(*self._pending_submits.popleft())

    def map(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Submit all values at once; gives the results in order.

        What was submitted before is ignored.
        """
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Submit all values at once; gives the results as they come."""
        return self._map(fn, values, self.get_next_unordered)

    def _map(self, fn: Submit, values: Iterable[Any], take: Callable[..., Any]) -> Iterator[Any]:
        while self.has_next():
            try:
                take(timeout=0, ignore_if_timedout=True)
            except TimeoutError:
                continue
        for value in values:
            self.submit(fn, value)
        return self._rest(take)

    def _rest(self, take: Callable[..., Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def push(self, actor: ActorHandle) -> None:
        """Add an actor; ValueError when it is in the pool already."""
        if actor in self._idle_actors or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._return_actor(actor)

    def pop_idle(self) -> ActorHandle | None:
        """Take an idle actor out; None when there is none."""
        return self._idle_actors.pop() if self.has_free() else None


def _key(result: Any) -> Any:
    return tuple(result) if isinstance(result, list) else result
