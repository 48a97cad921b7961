# SPDX-License-Identifier: Apache-2.0
"""A stream of a generator task that TypeScript gave to a call of Python: read here, once.

Refs of items come out of a queue, an actor of TypeScript, whose size holds the producer back. When
the loop ends early the queue ends, and with it the producer.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from polyray.exceptions import RayError


class ReceivedStream:
    """Refs of the items of a stream, as an iterator or an async iterator."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self._task = payload["task"]
        items = payload["items"]
        # The queue is a value of a codec of TypeScript: its actor is what counts.
        self._items = items.payload["actor"] if hasattr(items, "payload") else items.actor

    def completed(self) -> Any:
        """The ref that is sealed when the generator has ended."""
        return self._task

    def close(self) -> None:
        """Take no more items: the producer is cancelled."""
        from polyray.actor import kill

        with contextlib.suppress(RayError):
            kill(self._items)

    def __iter__(self) -> Iterator[Any]:
        from polyray.objects import get

        try:
            while (found := get(self._items.take.remote(1, 1, -1))) is not None:
                yield found[0]
            get(self._task)  # raises what the generator raised
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            while (found := await self._items.take.remote(1, 1, -1)) is not None:
                yield found[0]
            await self._task
        finally:
            self.close()
