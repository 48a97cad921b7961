# SPDX-License-Identifier: Apache-2.0
"""LocalIterator: a chain of steps over one stream of items, built when it is first read.

It can be sent to tasks and actors before it is read; one process reads it. A base iterator may give
_NextValueNotReady instead of an item when its time limit is over; steps hand that on.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from polyray.objects import get, wait
from polyray.remote_function import remote
from polyray.util.iter_metrics import MetricsContext, SharedMetrics

Step = Callable[[Iterator[Any]], Iterator[Any]]


class _NextValueNotReady(Exception):
    """In the place of an item: it is not there yet."""


_thread = threading.local()


class LocalIterator:
    """An iterator with steps; each method gives a new one with one more step."""

    ON_FETCH_START_HOOK_NAME = "_on_fetch_start"

    def __init__(
        self,
        base_iterator: Callable[..., Iterable[Any]],
        shared_metrics: SharedMetrics,
        local_transforms: list[Step] | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        assert isinstance(shared_metrics, SharedMetrics)
        self.base_iterator = base_iterator
        self.built_iterator: Iterator[Any] | None = None
        self.local_transforms = local_transforms or []
        self.shared_metrics = shared_metrics
        self.timeout = timeout
        self.name = name or "unknown"

    @staticmethod
    def get_metrics() -> MetricsContext:
        """The metrics of the iterator whose function runs; ValueError outside of one."""
        found: MetricsContext | None = getattr(_thread, "metrics", None)
        if found is None:
            raise ValueError("Cannot access context outside an iterator.")
        return found

    def _build_once(self) -> Iterator[Any]:
        if self.built_iterator is None:
            items: Iterator[Any] = iter(self.base_iterator(self.timeout))
            for step in self.local_transforms:
                items = step(items)
            self.built_iterator = items
        return self.built_iterator

    def __iter__(self) -> Iterator[Any]:
        return self._build_once()

    def __next__(self) -> Any:
        return next(self._build_once())

    def __repr__(self) -> str:
        return f"LocalIterator[{self.name}]"

    __str__ = __repr__

    def _with(self, step: Step, name: str) -> LocalIterator:
        return LocalIterator(
            self.base_iterator,
            self.shared_metrics,
            [*self.local_transforms, step],
            name=self.name + name,
        )

    def transform(self, fn: Callable[[Iterable[Any]], Iterable[Any]]) -> LocalIterator:
        """fn over the whole stream."""
        return self._with(lambda items: iter(fn(items)), ".transform()")

    def for_each(
        self,
        fn: Callable[[Any], Any],
        max_concurrency: int = 1,
        resources: dict[str, Any] | None = None,
    ) -> LocalIterator:
        """fn of each item; with another max_concurrency (0: no bound) in tasks, as they come."""
        metrics = self.shared_metrics

        def one_by_one(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                if isinstance(item, _NextValueNotReady):
                    yield item
                    continue
                result: Any = _NextValueNotReady()
                while isinstance(result, _NextValueNotReady):
                    _thread.metrics = metrics.get()
                    result = fn(item)
                    yield result

        def in_tasks(items: Iterator[Any]) -> Iterator[Any]:
            task = remote(fn).options(**(resources or {}))
            running: list[Any] = []
            for item in items:
                if isinstance(item, _NextValueNotReady):
                    yield item
                    continue
                if max_concurrency and len(running) >= max_concurrency:
                    done, running = wait(running)
                    yield from get(done)
                running.append(task.remote(item))
            while running:
                done, running = wait(running)
                yield from get(done)

        step = one_by_one if max_concurrency == 1 else in_tasks
        hook = getattr(fn, self.ON_FETCH_START_HOOK_NAME, None)
        return self._with(step if hook is None else _hooked(step, hook, metrics), ".for_each()")

    def filter(self, fn: Callable[[Any], bool]) -> LocalIterator:
        """The items for which fn holds."""
        metrics = self.shared_metrics

        def step(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                _thread.metrics = metrics.get()
                if isinstance(item, _NextValueNotReady) or fn(item):
                    yield item

        return self._with(step, ".filter()")

    def batch(self, n: int) -> LocalIterator:
        """Lists of n items; the last may be shorter."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            found: list[Any] = []
            for item in items:
                if isinstance(item, _NextValueNotReady):
                    yield item
                    continue
                found.append(item)
                if len(found) >= n:
                    yield found
                    found = []
            if found:
                yield found

        return self._with(step, f".batch({n})")

    def flatten(self) -> LocalIterator:
        """The items of each item."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            for item in items:
                if isinstance(item, _NextValueNotReady):
                    yield item
                else:
                    yield from item

        return self._with(step, ".flatten()")

    def shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> LocalIterator:
        """Items in random order, picked from a buffer of that size."""

        def step(items: Iterator[Any]) -> Iterator[Any]:
            dice = random.Random(seed)
            held: list[Any] = []
            for item in items:
                if isinstance(item, _NextValueNotReady):
                    yield item
                    continue
                held.append(item)
                if len(held) >= shuffle_buffer_size:
                    yield held.pop(dice.randint(0, len(held) - 1))
            while held:
                yield held.pop(dice.randint(0, len(held) - 1))

        return self._with(step, f".shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})")

    def combine(self, fn: Callable[[Any], list[Any]]) -> LocalIterator:
        """The items of fn of each item."""
        found = self.for_each(fn).flatten()
        found.name = self.name + ".combine()"
        return found

    def zip_with_source_actor(self) -> LocalIterator:
        """Pairs of the actor that an item came from and the item, after gather_async()."""

        def pair(item: Any) -> tuple[Any, Any]:
            actor = LocalIterator.get_metrics().current_actor
            if actor is None:
                raise ValueError("Could not identify source actor of item")
            return actor, item

        found = self.for_each(pair)
        found.name = self.name + ".zip_with_source_actor()"
        return found

    def take(self, n: int) -> list[Any]:
        """A list of up to n items."""
        found = []
        for item in self:
            found.append(item)
            if len(found) >= n:
                break
        return found

    def show(self, n: int = 20) -> None:
        """Print up to n items."""
        for item in self.take(n):
            print(item)

    def duplicate(self, n: int) -> list[LocalIterator]:
        """n iterators over the same items; none runs ahead of the others for long."""
        if n < 2:
            raise ValueError("Number of copies must be >= 2")
        queues: list[collections.deque[Any]] = [collections.deque() for _ in range(n)]

        def copy_of(own: collections.deque[Any]) -> Callable[..., Iterator[Any]]:
            def items(timeout: float | None = None) -> Iterator[Any]:
                while True:
                    if len(own) < max(map(len, queues)):
                        yield _NextValueNotReady()
                        continue
                    if not own:
                        self.timeout = timeout
                        try:
                            item = next(self)
                        except StopIteration:
                            return
                        for waiting in queues:
                            waiting.append(item)
                    yield own.popleft()

            return items

        return [
            LocalIterator(copy_of(own), self.shared_metrics, name=f"{self.name}.duplicate[{i}]")
            for i, own in enumerate(queues)
        ]

    def union(
        self,
        *others: LocalIterator,
        deterministic: bool = False,
        round_robin_weights: list[Any] | None = None,
    ) -> LocalIterator:
        """The items of all of them: who has one ready is next, or in turns.

        `round_robin_weights`: how many items each gives in its turn, "*" for as many as are ready.
        """
        for other in others:
            if not isinstance(other, LocalIterator):
                raise ValueError(f"other must be of type LocalIterator, got {type(other)}")
        parents = [self, *others]
        weights = round_robin_weights or [1] * len(parents)
        if len(weights) != len(parents):
            raise ValueError("Length of round robin weights must equal number of iterators total.")
        metrics = SharedMetrics(parents=[parent.shared_metrics for parent in parents])
        plain = None if deterministic or round_robin_weights else 0
        limits = [0 if weight == "*" else plain for weight in weights]
        active = [
            (weight, LocalIterator(p.base_iterator, metrics, p.local_transforms, timeout=limit))
            for weight, p, limit in zip(weights, parents, limits, strict=True)
        ]
        return LocalIterator(
            lambda timeout=None: _in_turns(active, timeout),
            metrics,
            name=f"LocalUnion[{self}, {', '.join(map(str, others))}]",
        )


def _in_turns(active: list[tuple[Any, LocalIterator]], timeout: float | None) -> Iterator[Any]:
    while active:
        for entry in list(active):
            weight, items = entry
            for _ in range(100 if weight == "*" else _rounded(weight)):
                try:
                    item = next(items)
                except StopIteration:
                    active.remove(entry)
                    break
                if not isinstance(item, _NextValueNotReady):
                    yield item
                    continue
                if timeout is not None:
                    yield item
                break


def _rounded(weight: float) -> int:
    whole = int(weight)
    return whole + (random.random() < weight - whole)


def _hooked(step: Step, hook: Callable[[], Any], metrics: SharedMetrics) -> Step:
    def with_hook(items: Iterator[Any]) -> Iterator[Any]:
        fresh = True
        results = step(items)
        while True:
            if fresh:
                _thread.metrics = metrics.get()
                hook()
            try:
                item = next(results)
            except StopIteration:
                return
            fresh = not isinstance(item, _NextValueNotReady)
            yield item

    return with_hook
