# SPDX-License-Identifier: Apache-2.0
"""Results of a Pool: AsyncResult, and the iterators of imap and imap_unordered.

A thread for each collects batches as they are done and calls back; the iterators keep one batch for
each process of the pool in flight. What a function raised is wrapped in PoolTaskError inside of a
batch, so that the other calls of the batch still run.
"""

from __future__ import annotations

import collections
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import Any

from polyray.exceptions import RayError
from polyray.objects import get, wait


class PoolTaskError(Exception):
    """Stands in a batch for what the function raised, which is `underlying`."""

    def __init__(self, underlying: Exception) -> None:
        super().__init__(underlying)
        self.underlying = underlying


def batch_of(ref: Any) -> list[Any]:
    """The results of a batch; one error when the whole batch failed."""
    try:
        return list(get(ref))
    except RayError as error:
        return [error]


class AsyncResult:
    """The result of apply_async, map_async or starmap_async."""

    def __init__(
        self,
        chunk_object_refs: list[Any],
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Any], Any] | None = None,
        single_result: bool = False,
    ) -> None:
        self._refs = list(chunk_object_refs)
        self._callback = callback
        self._error_callback = error_callback
        self._single = single_result
        self._batches: dict[Any, list[Any]] = {}
        self._failed = False
        self._thread = threading.Thread(target=self._collect, daemon=True, name="polyray-pool")
        self._thread.start()

    def _collect(self) -> None:
        left = list(self._refs)
        while left:
            ready, left = wait(left, num_returns=1)
            for ref in ready:
                self._take(ref)
        if not self._failed and self._callback is not None:
            values = self._values()
            self._callback(values[0] if self._single else values)

    def _take(self, ref: Any) -> None:
        batch = self._batches[ref] = batch_of(ref)
        error = next((item for item in batch if isinstance(item, Exception)), None)
        if error is not None and not self._failed:
            self._failed = True
            if self._error_callback is not None:
                self._error_callback(error)

    def _values(self) -> list[Any]:
        return [value for ref in self._refs for value in self._batches[ref]]

    def wait(self, timeout: float | None = None) -> None:
        """Return when the result is there, or after `timeout` seconds."""
        self._thread.join(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result; raises what the function raised, TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if self._thread.is_alive():
            raise PoolTimeoutError
        values = self._values()
        for value in values:
            if isinstance(value, PoolTaskError):
                raise value.underlying
            if isinstance(value, Exception):
                raise value
        return values[0] if self._single else values

    def ready(self) -> bool:
        """True when the result is there."""
        return not self._thread.is_alive()

    def successful(self) -> bool:
        """True when no call raised; ValueError when it is not ready."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return not self._failed


class IMapIterator:
    """What imap gives: results in the order of the items.

    An item whose call raised is a PoolTaskError in the results.
    """

    ordered = True

    def __init__(
        self, pool: Any, func: Any, iterable: Iterable[Any], chunksize: int | None
    ) -> None:
        self._pool = pool
        self._func = func
        if chunksize is None:
            sized = hasattr(iterable, "__len__")
            chunksize = pool._calculate_chunksize(iterable) if sized else 1
        elif chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        self._chunksize = max(1, chunksize)
        self._items = iter(iterable)
        self._submitted = 0
        self._next = 0
        self._running: dict[Any, int] = {}
        self._done: dict[int, list[Any]] = {}
        self._ready: collections.deque[Any] = collections.deque()
        for _ in range(pool._size()):
            self._submit()

    def _submit(self) -> None:
        chunk = list(itertools.islice(self._items, self._chunksize))
        if not chunk:
            return
        index = self._submitted % self._pool._size()
        ref = self._pool._run_batch(index, self._func, [((item,), {}) for item in chunk])
        self._running[ref] = self._submitted
        self._submitted += 1

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; multiprocessing.TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            if not self._running and not self._done:
                raise StopIteration
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = wait(list(self._running), num_returns=1, timeout=left)
            if not done:
                raise PoolTimeoutError
            self._take(done[0])
        return self._ready.popleft()

    def _take(self, ref: Any) -> None:
        number = self._running.pop(ref)
        self._done[number] = batch_of(ref)
        self._submit()
        if not self.ordered:
            self._ready.extend(self._done.pop(number))
            return
        while self._next in self._done:
            self._ready.extend(self._done.pop(self._next))
            self._next += 1


class OrderedIMapIterator(IMapIterator):
    """What imap gives."""


class UnorderedIMapIterator(IMapIterator):
    """What imap_unordered gives: results as they come."""

    ordered = False
