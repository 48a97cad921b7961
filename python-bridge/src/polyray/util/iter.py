# SPDX-License-Identifier: Apache-2.0
"""Parallel iterators: streams of items that live in actors, one a shard, with steps that run there.

`from_items`, `from_range`, `from_iterators`, `from_actors` make one; `gather_sync()`,
`gather_async()` and `get_shard()` read it. A ParallelIterator is a value; each shard is read by one
process. Steps are sent to the actors when reading begins.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from polyray.objects import get, wait
from polyray.remote_function import remote
from polyray.util.iter_metrics import MetricsContext, SharedMetrics
from polyray.util.local_iter import LocalIterator, _NextValueNotReady

__all__ = [
    "LocalIterator",
    "MetricsContext",
    "ParallelIterator",
    "ParallelIteratorWorker",
    "SharedMetrics",
    "_NextValueNotReady",
    "from_actors",
    "from_items",
    "from_iterators",
    "from_range",
]


def from_items(items: list[Any], num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """Items dealt round to `num_shards` actors; for ever again with `repeat`."""
    kind = type(items[0]).__name__ if items else "None"
    name = f"from_items[{kind}, {len(items)}, shards={num_shards}{_repeats(repeat)}]"
    return from_iterators([items[i::num_shards] for i in range(num_shards)], repeat, name)


def from_range(n: int, num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """The numbers below n, cut into `num_shards` ranges."""
    size = n // num_shards
    ends = [(i + 1) * size for i in range(num_shards - 1)] + [n]
    shards = [range(i * size, end) for i, end in enumerate(ends)]
    return from_iterators(shards, repeat, f"from_range[{n}, shards={num_shards}{_repeats(repeat)}]")


def from_iterators(
    generators: list[Any], repeat: bool = False, name: str | None = None
) -> ParallelIterator:
    """One actor for each iterable, or function that gives one."""
    worker = remote(ParallelIteratorWorker)
    actors = [worker.remote(generator, repeat) for generator in generators]
    default = f"from_iterators[shards={len(generators)}{_repeats(repeat)}]"
    return from_actors(actors, name or default)


def from_actors(actors: list[Any], name: str | None = None) -> ParallelIterator:
    """Actors whose classes derive from ParallelIteratorWorker."""
    return ParallelIterator([_Shards(actors, [])], name or f"from_actors[shards={len(actors)}]")


def _repeats(repeat: bool) -> str:
    return ", repeat=True" if repeat else ""


class _Shards:
    """Actors with the same steps."""

    def __init__(self, actors: list[Any], steps: list[Any]) -> None:
        self.actors = actors
        self.transforms = steps

    def init_actors(self) -> None:
        get([actor.par_iter_init.remote(self.transforms) for actor in self.actors])

    def with_transform(self, step: Any) -> _Shards:
        return _Shards(self.actors, [*self.transforms, step])


class ParallelIterator:
    """A stream of items over actors."""

    def __init__(
        self, actor_sets: list[_Shards], name: str, parent_iterators: list[Any] | None = None
    ) -> None:
        self.actor_sets = actor_sets
        self.name = name
        self.parent_iterators = parent_iterators or []  # keeps the actors of a source alive

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            "You must use it.gather_sync() or it.gather_async() to iterate over the results of a "
            "ParallelIterator."
        )

    def __repr__(self) -> str:
        return f"ParallelIterator[{self.name}]"

    __str__ = __repr__

    # -- steps, which run in the actors

    def _with(self, step: Callable[[LocalIterator], LocalIterator], name: str) -> ParallelIterator:
        sets = [shards.with_transform(step) for shards in self.actor_sets]
        return ParallelIterator(sets, self.name + name, self.parent_iterators)

    def transform(self, fn: Callable[[Iterable[Any]], Iterable[Any]]) -> ParallelIterator:
        """fn over the stream of each shard."""
        return self._with(lambda items: items.transform(fn), ".transform()")

    def for_each(
        self,
        fn: Callable[[Any], Any],
        max_concurrency: int = 1,
        resources: dict[str, Any] | None = None,
    ) -> ParallelIterator:
        """fn of each item; in tasks of those resources when max_concurrency is not 1."""
        assert max_concurrency >= 0, "max_concurrency must be non-negative."
        return self._with(
            lambda items: items.for_each(fn, max_concurrency, resources), ".for_each()"
        )

    def filter(self, fn: Callable[[Any], bool]) -> ParallelIterator:
        """The items for which fn holds."""
        return self._with(lambda items: items.filter(fn), ".filter()")

    def batch(self, n: int) -> ParallelIterator:
        """Lists of n items of a shard."""
        return self._with(lambda items: items.batch(n), f".batch({n})")

    def flatten(self) -> ParallelIterator:
        """The items of each item."""
        return self._with(lambda items: items.flatten(), ".flatten()")

    def combine(self, fn: Callable[[Any], list[Any]]) -> ParallelIterator:
        """The items of fn of each item."""
        found = self.for_each(fn).flatten()
        found.name = self.name + ".combine()"
        return found

    def local_shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> ParallelIterator:
        """Items of each shard in random order."""
        return self._with(
            lambda items: items.shuffle(shuffle_buffer_size, seed),
            f".local_shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})",
        )

    # -- shards

    def _actors(self) -> list[Any]:
        for shards in self.actor_sets:
            shards.init_actors()
        return [actor for shards in self.actor_sets for actor in shards.actors]

    def repartition(self, num_partitions: int, batch_ms: int = 0) -> ParallelIterator:
        """The same items dealt round to another number of shards."""
        actors = self._actors()

        def shard(index: int) -> Callable[[], Iterator[Any]]:
            def ask(actor: Any) -> Any:
                return actor.par_iter_slice_batch.remote(num_partitions, index, batch_ms)

            return lambda: (item for _, item in _as_they_come(actors, ask, 1))

        worker = remote(ParallelIteratorWorker)
        made = [worker.remote(shard(i), False) for i in range(num_partitions)]
        name = f"{self.name}.repartition[num_partitions={num_partitions}]"
        return ParallelIterator([_Shards(made, [])], name, [self])

    def union(self, other: ParallelIterator) -> ParallelIterator:
        """The shards of both."""
        if not isinstance(other, ParallelIterator):
            raise TypeError(f"other must be of type ParallelIterator, got {type(other)}")
        return ParallelIterator(
            self.actor_sets + other.actor_sets,
            f"ParallelUnion[{self}, {other}]",
            self.parent_iterators + other.parent_iterators,
        )

    def select_shards(self, shards_to_keep: list[int]) -> ParallelIterator:
        """Some of the shards, by number."""
        if len(self.actor_sets) > 1:
            raise ValueError("select_shards() is not allowed after union()")
        if not shards_to_keep:
            raise ValueError("at least one shard must be selected")
        old = self.actor_sets[0]
        kept = [actor for i, actor in enumerate(old.actors) if i in shards_to_keep]
        assert len(kept) == len(shards_to_keep), "Invalid actor index"
        return ParallelIterator(
            [_Shards(kept, old.transforms)],
            f"{self}.select_shards({len(shards_to_keep)} total)",
            self.parent_iterators,
        )

    def num_shards(self) -> int:
        """How many shards there are."""
        return sum(len(shards.actors) for shards in self.actor_sets)

    def shards(self) -> list[LocalIterator]:
        """An iterator for each shard."""
        return [self.get_shard(i) for i in range(self.num_shards())]

    def get_shard(self, shard_index: int, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """An iterator over one shard; `num_async` requests are in flight at a time."""
        if num_async < 1:
            raise ValueError("num async must be positive")
        if batch_ms < 0:
            raise ValueError("batch time must be positive")
        found = [(shards, actor) for shards in self.actor_sets for actor in shards.actors]
        if not 0 <= shard_index < len(found):
            raise ValueError("Shard index out of range", shard_index, self.num_shards())
        shards, actor = found[shard_index]

        def items(timeout: float | None = None) -> Iterator[Any]:
            get(actor.par_iter_init.remote(shards.transforms))
            asked = collections.deque(
                actor.par_iter_next_batch.remote(batch_ms) for _ in range(num_async)
            )
            while True:
                if timeout is not None and not wait([asked[0]], timeout=timeout)[0]:
                    yield _NextValueNotReady()
                    continue
                try:
                    batch = get(asked.popleft())
                except StopIteration:
                    return
                asked.append(actor.par_iter_next_batch.remote(batch_ms))
                yield from batch

        return LocalIterator(items, SharedMetrics(), name=f"{self.name}.shard[{shard_index}]")

    # -- reading

    def batch_across_shards(self) -> LocalIterator:
        """Lists with one item of each shard that has one."""

        def items(timeout: float | None = None) -> Iterator[Any]:
            active = self._actors()
            asked = [actor.par_iter_next.remote() for actor in active]
            while active:
                if timeout is not None:
                    ready, _ = wait(asked, num_returns=len(asked), timeout=timeout)
                    if len(ready) < len(asked):
                        yield _NextValueNotReady()
                        continue
                row, left = [], []
                for actor, ref in zip(active, asked, strict=True):
                    try:
                        row.append(get(ref))
                        left.append(actor)
                    except StopIteration:
                        continue
                active = left
                asked = [actor.par_iter_next.remote() for actor in active]
                if row:
                    yield row

        return LocalIterator(items, SharedMetrics(), name=f"{self}.batch_across_shards()")

    def gather_sync(self) -> LocalIterator:
        """Items of the shards in turns."""
        found = self.batch_across_shards().flatten()
        found.name = f"{self}.gather_sync()"
        return found

    def gather_async(self, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """Items as they come; `num_async` requests are in flight for each shard."""
        if num_async < 1:
            raise ValueError("queue depth must be positive")
        if batch_ms < 0:
            raise ValueError("batch time must be positive")
        metrics = SharedMetrics()

        def items(timeout: float | None = None) -> Iterator[Any]:
            def ask(actor: Any) -> Any:
                return actor.par_iter_next_batch.remote(batch_ms)

            for actor, item in _as_they_come(self._actors(), ask, num_async, timeout):
                metrics.get().current_actor = actor
                yield item

        return LocalIterator(items, metrics, name=f"{self}.gather_async()")

    def take(self, n: int) -> list[Any]:
        """A list of up to n items."""
        return self.gather_sync().take(n)

    def show(self, n: int = 20) -> None:
        """Print up to n items."""
        self.gather_sync().show(n)


def _as_they_come(
    actors: list[Any], ask: Callable[[Any], Any], depth: int, timeout: float | None = None
) -> Iterator[tuple[Any, Any]]:
    asked = {ask(actor): actor for _ in range(depth) for actor in actors}
    while asked:
        ready, _ = wait(list(asked), num_returns=1, timeout=timeout)
        for ref in ready:
            actor = asked.pop(ref)
            try:
                batch = get(ref)
            except StopIteration:
                continue
            asked[ask(actor)] = actor
            for item in batch:
                yield actor, item
        if timeout is not None:
            yield None, _NextValueNotReady()


class ParallelIteratorWorker:
    """The base of actors that hold a shard: over an iterable, or a function that gives one."""

    def __init__(self, item_generator: Any, repeat: bool) -> None:
        self.item_generator = _cycle(item_generator) if repeat else _made(item_generator)
        self.local_it: Iterator[Any] | None = None
        self.next_ith_buffer: dict[int, list[Any]] = collections.defaultdict(list)

    def par_iter_init(self, transforms: list[Any]) -> None:
        """Begin to read, through these steps."""
        items = LocalIterator(lambda timeout: self.item_generator, SharedMetrics())
        for step in transforms:
            items = step(items)
            assert items is not None, step
        self.local_it = iter(items)

    def par_iter_next(self) -> Any:
        """The next item; StopIteration at the end."""
        assert self.local_it is not None, "must call par_iter_init()"
        return next(self.local_it)

    def par_iter_next_batch(self, batch_ms: int) -> list[Any]:
        """The items of that many milliseconds, at least one."""
        return _for_a_while(self.par_iter_next, batch_ms)

    def par_iter_slice(self, step: int, start: int) -> Any:
        """The next item whose number gives `start` modulo `step`."""
        assert self.local_it is not None, "must call par_iter_init()"
        held = self.next_ith_buffer[start]
        if not held:
            for index in range(step):
                try:
                    self.next_ith_buffer[index].append(next(self.local_it))
                except StopIteration:
                    break
        if not held:
            raise StopIteration
        return held.pop(0)

    def par_iter_slice_batch(self, step: int, start: int, batch_ms: int) -> list[Any]:
        """Items of par_iter_slice() of that many milliseconds, at least one."""
        return _for_a_while(lambda: self.par_iter_slice(step, start), batch_ms)


def _for_a_while(take: Callable[[], Any], batch_ms: int) -> list[Any]:
    found = [take()]
    end = time.monotonic() + 0.001 * batch_ms
    while batch_ms and time.monotonic() < end:
        try:
            found.append(take())
        except StopIteration:
            break
    return found


def _made(source: Any) -> Any:
    return source() if callable(source) else source


def _cycle(source: Any) -> Iterator[Any]:
    while True:
        items = iter(_made(source))
        if items is source:
            raise ValueError(
                f"Cannot iterate over {source} multiple times. "
                "Please pass in the base iterable or a function that gives it instead."
            )
        yield from items
