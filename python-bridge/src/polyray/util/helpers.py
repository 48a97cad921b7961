# SPDX-License-Identifier: Apache-2.0
"""Results as they come: as_completed over refs, map_unordered over items with a bound on the calls
in flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from polyray.objects import get, wait

DEFAULT_CHUNK_SIZE = 10
DEFAULT_BACKPRESSURE_SIZE = 100


def as_completed(
    refs: Sequence[Any],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Yield results (or refs) as batches of `chunk_size` of them are ready.

    Other keyword arguments go to wait(). Raises ValueError for a chunk_size below 1, and what a
    task raised.
    """
    _check(chunk_size, kwargs, "chunksize")
    while refs:
        found, refs = _batch(refs, chunk_size, yield_obj_refs, kwargs)
        yield from found


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = DEFAULT_BACKPRESSURE_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Call a remote function on each item; yield results (or refs) as they come.

    At most `backpressure_size` calls are in flight (None: no bound). Other keyword arguments go to
    wait().
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, kwargs, "chunk_size")
    refs: list[Any] = []
    for item in items:
        refs.append(fn.remote(item))
        if backpressure_size is not None and len(refs) >= backpressure_size:
            found, refs = _batch(refs, chunk_size, yield_obj_refs, kwargs)
            yield from found
    yield from as_completed(refs, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check(chunk_size: int, kwargs: dict[str, Any], name: str) -> None:
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in kwargs:
        raise ValueError(f"Use the `{name}` argument instead of `num_returns`.")


def _batch(
    refs: Sequence[Any], size: int, as_refs: bool, kwargs: dict[str, Any]
) -> tuple[list[Any], list[Any]]:
    ready, rest = wait(refs, num_returns=min(size, len(refs)), **kwargs)
    return (ready if as_refs else get(ready)), rest
