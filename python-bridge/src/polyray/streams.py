# SPDX-License-Identifier: Apache-2.0
"""Streams: the refs of what a generator task yields, in order, while it runs.

The task's own ref (`completed`) is sealed when the generator has ended. What the generator raised
is the last ref of the stream: getting it raises, the next step ends the iteration. A stream that is
closed, or dropped after its first item, cancels its producer; one that nobody ever read runs to its
end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from polyray import runtime
from polyray._native import ObjectRef
from polyray.exceptions import make_error
from polyray.objects import until_ready

_ALL = 0xFFFFFFFF
_FAILED = (2, 3)  # sealed with an error; gone


class ObjectRefGenerator(Iterator[ObjectRef[Any]], AsyncIterator[ObjectRef[Any]]):
    """Iterates over refs, with `for` or `async for`. `wait` takes it too: ready when its next item
    is."""

    def __init__(self, task_ref: ObjectRef[Any]) -> None:
        self._task_ref = self._generator_ref = task_ref
        self._runtime = runtime.current()
        self._taken = 0
        self._finished = False

    def __iter__(self) -> ObjectRefGenerator:
        return self

    def __next__(self) -> ObjectRef[Any]:
        found = self._next(-1)
        if found is None:
            raise StopIteration
        return found

    def _next_sync(self, timeout_s: float | None = None) -> Any:
        """The next ref, or a nil ref when it is not there in time."""
        limit = -1 if timeout_s is None or timeout_s < 0 else int(timeout_s * 1000)
        if limit >= 0 and not self.next_ready():
            from polyray import wait

            if not wait([self], timeout=timeout_s)[0]:
                return ObjectRef.nil()
        return self.__next__()

    def _next(self, timeout_ms: int) -> ObjectRef[Any] | None:
        if self._finished:
            return None
        client = self._runtime.client
        in_time, item = client.next_item(self._task_ref, timeout_ms)
        if not in_time:
            raise make_error("GET_TIMEOUT", "the next item of a stream was not ready in time")
        if item is None:
            self._finished = True
            client.close_stream(self._task_ref)
            return self._task_ref if client.status(self._task_ref) in _FAILED else None
        self._taken += 1
        client.stream_consumed(self._task_ref, self._taken)
        return item

    def __aiter__(self) -> ObjectRefGenerator:
        return self

    async def __anext__(self) -> ObjectRef[Any]:
        client = self._runtime.client
        while not self._finished and not client.stream_has_item(self._task_ref):
            await until_ready(self._task_ref, self._runtime, True)
        found = self._next(-1)
        if found is None:
            raise StopAsyncIteration
        return found

    def completed(self) -> ObjectRef[Any]:
        """The ref that is sealed when the generator has ended."""
        return self._task_ref

    def is_finished(self) -> bool:
        """True when every item was taken and the generator has ended."""
        if not self._finished and self.next_ready():
            client = self._runtime.client
            if client.stream_at_end(self._task_ref):
                return client.status(self._task_ref) not in _FAILED
        return self._finished

    def next_ready(self) -> bool:
        """True when the next item (or the end) is here."""
        return self._finished or bool(self._runtime.client.stream_has_item(self._task_ref))

    def close(self) -> None:
        """Take no more: the producer is cancelled."""
        if self._finished:
            return
        self._finished = True
        client = self._runtime.client
        if client.status(self._task_ref) == 0:
            from polyray.actor import cancel

            cancel(self._task_ref)
            client.stream_consumed(self._task_ref, _ALL)
        client.close_stream(self._task_ref)

    async def aclose(self) -> None:
        """As close()."""
        self.close()

    def send(self, value: Any) -> Any:
        """Not possible: the generator runs elsewhere."""
        raise NotImplementedError("`gen.send` is not supported.")

    def throw(self, *args: Any) -> Any:
        """Not possible: the generator runs elsewhere."""
        raise NotImplementedError("`gen.throw` is not supported.")

    async def asend(self, value: Any) -> Any:
        """Not possible: the generator runs elsewhere."""
        raise NotImplementedError("`gen.asend` is not supported.")

    async def athrow(self, *args: Any) -> Any:
        """Not possible: the generator runs elsewhere."""
        raise NotImplementedError("`gen.athrow` is not supported.")

    def __del__(self) -> None:
        found = runtime.peek()
        if found is None or found is not self._runtime or self._finished:
            return
        if self._taken:
            self.close()
        else:
            found.client.stream_consumed(self._task_ref, _ALL)
            found.client.close_stream(self._task_ref)

    def __reduce__(self) -> Any:
        raise TypeError(
            "You cannot return or pass a generator to other task. "
            "Serializing a ObjectRefGenerator is not allowed."
        )


class DynamicObjectRefGenerator:
    """The refs of a task with num_returns="dynamic": its one return, when the task has ended."""

    def __init__(self, refs: list[ObjectRef[Any]]) -> None:
        self._refs = refs

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)
