# SPDX-License-Identifier: Apache-2.0
"""Pool: the interface of multiprocessing.Pool over actors of a runtime.

Each process of the pool is an actor without CPUs of its own. Work goes round in batches. A Pool
belongs to the process that made it: it cannot be pickled.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from polyray.actor import kill
from polyray.objects import get, wait
from polyray.remote_function import remote
from polyray.util.debug import log_once
from polyray.util.multiprocessing.results import (
    AsyncResult,
    IMapIterator,
    OrderedIMapIterator,
    PoolTaskError,
    UnorderedIMapIterator,
)

logger = logging.getLogger(__name__)
Callback = Callable[[Any], Any]


class PoolActor:
    """One process of a pool."""

    def __init__(self, initializer: Any = None, initargs: Iterable[Any] | None = None) -> None:
        if initializer is not None:
            initializer(*(initargs or ()))

    def ping(self) -> None:
        """Answers when the initializer has run."""

    def run_batch(self, func: Any, batch: list[Any]) -> list[Any]:
        """The result of each call of a batch, or its PoolTaskError."""
        results: list[Any] = []
        for args, kwargs in batch:
            try:
                results.append(func(*(args or ()), **(kwargs or {})))
            except Exception as error:  # what the user's function raises is a result
                results.append(PoolTaskError(error))
        return results


class Pool:
    """A pool of `processes` actors (default: one for each CPU of the cluster).

    `initializer(*initargs)` runs in each; after `maxtasksperchild` batches an actor is replaced.
    `ray_address` is what init() gets when no runtime is there; `ray_remote_args` are options of the
    actors. ValueError when there are fewer CPUs than processes.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
    ) -> None:
        self._closed = False
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks = maxtasksperchild or -1
        self._leaving: list[Any] = []
        self._current = -1
        options = {"num_cpus": 0, **(ray_remote_args or {})}
        self._actor_class = remote(**options)(PoolActor)
        if context and log_once("context_argument_warning"):
            logger.warning(
                "The 'context' argument is not supported using ray. Please refer to the "
                "documentation for how to control ray initialization."
            )
        count = self._start_runtime(processes, ray_address)
        self._actor_pool: list[tuple[Any, int]] = [self._new_actor() for _ in range(count)]
        get([actor.ping.remote() for actor, _ in self._actor_pool])

    def _start_runtime(self, processes: int | None, address: str | None) -> int:
        from polyray.driver import cluster_resources, init, is_initialized

        if not is_initialized():
            given = address or os.environ.get("POLYRAY_ADDRESS") or os.environ.get("RAY_ADDRESS")
            own = given in (None, "", "local")
            init(address or None, num_cpus=processes if own else None)
        cpus = int(cluster_resources().get("CPU", 0))
        if processes is None:
            processes = cpus
        if processes <= 0:
            raise ValueError("Processes in the pool must be >0.")
        if cpus < processes:
            raise ValueError(
                f"Tried to start a pool with {processes} processes on an existing ray cluster, "
                f"but there are only {cpus} CPUs in the ray cluster."
            )
        return processes

    # -- its actors

    def _size(self) -> int:
        return len(self._actor_pool)

    def _new_actor(self) -> tuple[Any, int]:
        return self._actor_class.remote(self._initializer, self._initargs), 0

    def _stop_actor(self, actor: Any) -> None:
        self._wait_for_leaving(0)
        self._leaving.append(actor.__ray_terminate__.remote())  # after its queued calls

    def _wait_for_leaving(self, timeout: float | None) -> None:
        if self._leaving:
            _, self._leaving = wait(self._leaving, num_returns=len(self._leaving), timeout=timeout)

    def _run_batch(self, index: int, func: Any, batch: list[Any]) -> Any:
        actor, count = self._actor_pool[index]
        ref = actor.run_batch.remote(func, batch)
        count += 1
        if count == self._max_tasks:
            self._stop_actor(actor)
            actor, count = self._new_actor()
        self._actor_pool[index] = (actor, count)
        return ref

    def _calculate_chunksize(self, iterable: Any) -> int:
        return -(-len(iterable) // (self._size() * 4))

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    # -- calls

    def apply(self, func: Any, args: Iterable[Any] | None = None, kwargs: Any = None) -> Any:
        """The result of func(*args, **kwargs) in one of the processes."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Any,
        args: Iterable[Any] | None = None,
        kwargs: Any = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """Start func(*args, **kwargs); `callback` gets the result, `error_callback` the error."""
        self._check_running()
        self._current = (self._current + 1) % self._size()
        ref = self._run_batch(self._current, func, [(args, kwargs)])
        return AsyncResult([ref], callback, error_callback, single_result=True)

    def map(self, func: Any, iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """func(item) for each item, in batches of `chunksize`; the results in order."""
        return list(self._map(func, iterable, chunksize, False, None, None).get())

    def map_async(
        self,
        func: Any,
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """map() that does not wait; `callback` gets the list, `error_callback` the first error."""
        return self._map(func, iterable, chunksize, False, callback, error_callback)

    def starmap(
        self, func: Any, iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """func(*item) for each item; the results in order."""
        return list(self._map(func, iterable, chunksize, True, None, None).get())

    def starmap_async(
        self,
        func: Any,
        iterable: Iterable[Any],
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> AsyncResult:
        """starmap() that does not wait."""
        return self._map(func, iterable, None, True, callback, error_callback)

    def _map(
        self,
        func: Any,
        iterable: Iterable[Any],
        chunksize: int | None,
        unpack: bool,
        callback: Callback | None,
        error_callback: Callback | None,
    ) -> AsyncResult:
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise AssertionError(f"Chunksize must be 1+, not {chunksize}")
        items = list(iterable)
        size = max(1, self._calculate_chunksize(items) if chunksize is None else int(chunksize))
        calls: list[Any] = [(tuple(item) if unpack else (item,), {}) for item in items]
        refs = [
            self._run_batch(number % self._size(), func, calls[start : start + size])
            for number, start in enumerate(range(0, len(calls), size))
        ]
        return AsyncResult(refs, callback, error_callback)

    def imap(self, func: Any, iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """An iterator over the results in order; few batches are in flight at a time."""
        self._check_running()
        return OrderedIMapIterator(self, func, iterable, chunksize)

    def imap_unordered(
        self, func: Any, iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """An iterator over the results as they come."""
        self._check_running()
        return UnorderedIMapIterator(self, func, iterable, chunksize)

    # -- its end

    def close(self) -> None:
        """Take no more work; what was given still runs."""
        for actor, _ in self._actor_pool:
            self._stop_actor(actor)
        self._closed = True

    def terminate(self) -> None:
        """Take no more work and end what runs."""
        if not self._closed:
            self.close()
        for actor, _ in self._actor_pool:
            kill(actor)

    def join(self) -> None:
        """Wait until the processes of a closed pool have ended."""
        if not self._closed:
            raise ValueError("Pool is still running")
        self._wait_for_leaving(None)

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc: object) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")
