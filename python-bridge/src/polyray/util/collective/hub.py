# SPDX-License-Identifier: Apache-2.0
"""The meeting place of a group: an asynchronous actor that passes refs between ranks, never data.

A rank gives its part of operation number n and gets the parts of all; messages from one rank to
another are numbered too. A rank that joins again starts a new round of numbers. Parts are dropped
when every rank has taken them.
"""

from __future__ import annotations

import asyncio
from typing import Any

HUB_NAMESPACE = "_polyray_collective"


class Hub:
    """One for each group."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.ranks: dict[str, int] = {}  # actor id -> rank, of a declared group
        self.backend = ""
        self.rounds: dict[int, int] = {}
        self.parts: dict[Any, dict[int, Any]] = {}
        self.taken: dict[Any, int] = {}
        self.changed = asyncio.Condition()

    async def declare(self, ranks: dict[str, int], backend: str) -> bool:
        """Say which actor has which rank; False when it was said already."""
        if self.ranks:
            return False
        self.ranks, self.backend = ranks, backend
        return True

    async def declared(self, actor_id: str) -> tuple[int, int, str] | None:
        """World size, rank and backend of an actor of a declared group."""
        rank = self.ranks.get(actor_id)
        return None if rank is None else (self.world_size, rank, self.backend)

    async def join(self, rank: int, world_size: int) -> int:
        """Wait until all ranks have joined; gives the number of the round."""
        if world_size != self.world_size:
            raise RuntimeError(
                f"This rank says that the group has {world_size} ranks, "
                f"but it was made with {self.world_size}."
            )
        number = self.rounds[rank] = self.rounds.get(rank, 0) + 1
        await self.exchange(("join", number), rank, None)
        return number

    async def exchange(self, key: Any, rank: int, part: Any) -> list[Any]:
        """Give a part; get the parts of all ranks, in order, when all are there."""
        key = tuple(key)
        async with self.changed:
            parts = self.parts.setdefault(key, {})
            parts[rank] = part
            self.changed.notify_all()
            await self.changed.wait_for(lambda: len(parts) == self.world_size)
            found = [parts[index] for index in range(self.world_size)]
            self.taken[key] = self.taken.get(key, 0) + 1
            if self.taken[key] == self.world_size:
                del self.parts[key], self.taken[key]
            return found

    async def post(self, key: Any, part: Any) -> None:
        """Leave a message."""
        async with self.changed:
            self.parts[tuple(key)] = {0: part}
            self.changed.notify_all()

    async def take(self, key: Any) -> Any:
        """Wait for a message and take it."""
        key = tuple(key)
        async with self.changed:
            await self.changed.wait_for(lambda: key in self.parts)
            return self.parts.pop(key)[0]
