# SPDX-License-Identifier: Apache-2.0
"""Streams: the refs of what a generator task yields, in order, while it runs.

The task's own ref (`completed`) is sealed when the generator has ended; its error is the last
ref's. Dropping the generator drops what was not taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from polyray import runtime
from polyray._native import ObjectRef
from polyray.exceptions import GetTimeoutError, make_error
from polyray.objects import until_ready


class ObjectRefGenerator(Iterator[ObjectRef[Any]], AsyncIterator[ObjectRef[Any]]):
    """Iterates over refs, with `for` or `async for`."""

    def __init__(self, task_ref: ObjectRef[Any]) -> None:
        self._task_ref = task_ref
        self._runtime = runtime.current()
        self._taken = 0
        self._finished = False

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> ObjectRef[Any]:
        return self._next(-1)

    def _next(self, timeout_ms: int) -> ObjectRef[Any]:
        if self._finished:
            raise StopIteration
        client = self._runtime.client
        in_time, item = client.next_item(self._task_ref, timeout_ms)
        if not in_time:
            raise _late()
        if item is None:
            self._end(client)
            raise StopIteration
        self._taken += 1
        client.stream_consumed(self._task_ref, self._taken)
        return item

    def _end(self, client: Any) -> None:
        self._finished = True
        client.close_stream(self._task_ref)
        self._runtime.get(self._task_ref, 0)  # raises what the generator raised

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef[Any]:
        if self._finished:
            raise StopAsyncIteration
        client = self._runtime.client
        while not client.stream_has_item(self._task_ref):
            await until_ready(self._task_ref, self._runtime)
        try:
            return self._next(-1)
        except StopIteration:
            raise StopAsyncIteration from None

    def completed(self) -> ObjectRef[Any]:
        """The ref that is sealed when the generator has ended."""
        return self._task_ref

    def is_finished(self) -> bool:
        """True when every item was taken and the generator has ended."""
        return self._finished

    def next_ready(self) -> bool:
        """True when the next item (or the end) is here."""
        return self._finished or bool(runtime.current().client.stream_has_item(self._task_ref))

    def close(self) -> None:
        """Take no more: the producer is cancelled."""
        if self._finished:
            return
        self._finished = True
        from polyray.actor import cancel

        cancel(self._task_ref)
        runtime.current().client.close_stream(self._task_ref)

    def __del__(self) -> None:
        found = runtime.peek()
        if found is not None and not self._finished:
            found.client.close_stream(self._task_ref)


def _late() -> GetTimeoutError:
    error = make_error("GET_TIMEOUT", "the next item of a stream was not ready in time")
    assert isinstance(error, GetTimeoutError)
    return error
