# SPDX-License-Identifier: Apache-2.0
"""The joblib backend: batches of calls go to the actors of a Pool.

Arguments of 100 kB or more that several calls share are put into the store once. n_jobs=-1 means
all CPUs of the cluster. A batch in a worker runs its own parallel loops in that worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from joblib._parallel_backends import (
    AutoBatchingMixin,
    ParallelBackendBase,
    PoolManagerMixin,
    SequentialBackend,
)

from polyray._native import ObjectRef
from polyray.objects import get, put
from polyray.util.multiprocessing.pool import Pool

_SHARED_BYTES = 100_000


class SharedBatch:
    """A batch of calls whose big arguments are refs."""

    def __init__(self, batch: Any, items: list[Any]) -> None:
        self._batch = batch
        self._items = items

    def __call__(self) -> Any:
        fetched: dict[Any, Any] = {}

        def value(argument: Any) -> Any:
            if type(argument) is not ObjectRef:
                return argument
            if argument not in fetched:
                fetched[argument] = get(argument)
            return fetched[argument]

        self._batch.items = [
            (function, [value(arg) for arg in args], {k: value(v) for k, v in kwargs.items()})
            for function, args, kwargs in self._items
        ]
        return self._batch()


class RayBackend(PoolManagerMixin, AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's calls in actors. `ray_remote_args` are options of the actors."""

    supports_sharedmem = False
    supports_return_generator = True
    supports_retrieve_callback = True
    uses_threads = False

    def __init__(self, ray_remote_args: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.ray_remote_args = ray_remote_args
        self._pool: Any = None
        self._shared: dict[int, tuple[Any, Any]] = {}  # id -> the argument, its ref

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls run at once: n_jobs, or all CPUs and fewer for negative numbers."""
        from polyray.driver import cluster_resources

        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            return max(1, int(cluster_resources().get("CPU", 1)) + 1 + n_jobs)
        return n_jobs

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> int:
        """Start the pool; gives how many calls run at once."""
        from joblib.parallel import FallbackToBackend

        count = self.effective_n_jobs(n_jobs)
        if count == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        asked = self.ray_remote_args if ray_remote_args is None else ray_remote_args
        self._pool = Pool(count, ray_remote_args=asked)
        self.parallel = parallel
        return count

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        """Start a batch."""
        return super().submit(self._with_shared(func), callback)

    def _with_shared(self, func: Any) -> Any:
        items = getattr(func, "items", None)
        if not isinstance(items, list):
            return func
        changed = [
            (f, [self._ref(arg) for arg in args], {k: self._ref(v) for k, v in kwargs.items()})
            for f, args, kwargs in items
        ]
        return SharedBatch(func.__class__([], *_settings(func)), changed)

    def _ref(self, argument: Any) -> Any:
        if getattr(argument, "nbytes", 0) < _SHARED_BYTES:
            return argument
        if id(argument) not in self._shared:
            self._shared[id(argument)] = (argument, put(argument))
        return self._shared[id(argument)][1]

    def terminate(self) -> None:
        """End the pool."""
        self._shared.clear()
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


def _settings(batch: Any) -> tuple[Any, ...]:
    # The rest of BatchedCalls' constructor.
    return (
        (batch._backend, batch._n_jobs),
        batch._reducer_callback,
        getattr(batch, "_pickle_cache", None),
    )
