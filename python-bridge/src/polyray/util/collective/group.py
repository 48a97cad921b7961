# SPDX-License-Identifier: Apache-2.0
"""One rank of a group: collective operations over arrays in the shared-memory store.

Each rank puts its array once and reads those of the others where they lie. Arrays from 64 kB on are
reduced in slices, one a rank, so that every byte is added once for each rank and not n times; all
ranks add in the same order and so get the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyray.objects import get, put
from polyray.util.collective.types import ReduceOp

_SLICED_BYTES = 65_536


def array_of(tensor: Any) -> Any:
    """The numpy array that shares the memory of a tensor."""
    import numpy as np

    return tensor if isinstance(tensor, np.ndarray) else tensor.detach().cpu().numpy()


def fill(tensor: Any, value: Any) -> None:
    """Write an array into a tensor."""
    import numpy as np

    if isinstance(tensor, np.ndarray):
        np.copyto(tensor, np.asarray(value).reshape(tensor.shape), casting="unsafe")
    else:
        import torch

        array = np.array(value, copy=True).reshape(tuple(tensor.shape))
        tensor.data.copy_(torch.from_numpy(array))


def reduced(arrays: Sequence[Any], op: ReduceOp) -> Any:
    """The arrays as one, in the order of ranks."""
    import numpy as np

    combine = {
        ReduceOp.SUM: np.add,
        ReduceOp.PRODUCT: np.multiply,
        ReduceOp.MIN: np.minimum,
        ReduceOp.MAX: np.maximum,
    }[op]
    total = np.array(arrays[0], copy=True)
    for array in arrays[1:]:
        combine(total, array, out=total, casting="unsafe")
    return total


class Group:
    """One rank; its operations are called in the same order by all ranks."""

    def __init__(self, hub: Any, name: str, world_size: int, rank: int, backend: str) -> None:
        self.hub = hub
        self.name = name
        self.group_name = name
        self.world_size = world_size
        self.rank = rank
        self.backend = backend
        self._round = int(get(hub.join.remote(rank, world_size)))
        self._number = 0
        self._messages: dict[tuple[str, int], int] = {}
        self._held: list[Any] = []

    def _exchange(self, part: Any) -> list[Any]:
        self._number += 1
        key = ("op", self._round, self._number)
        return list(get(self.hub.exchange.remote(key, self.rank, part)))

    def _arrays(self, array: Any) -> list[Any]:
        # The own part stays held until the next operation: the others may still fetch it.
        ref = None if array is None else put(array)
        refs = self._exchange(None if ref is None else [ref])
        self._held = [ref]
        return [None if part is None else get(part[0]) for part in refs]

    def barrier(self) -> None:
        """Return when all ranks are here."""
        self._exchange(None)

    def all_reduced(self, array: Any, op: ReduceOp) -> Any:
        """The reduction over all ranks."""
        import numpy as np

        flat = np.ascontiguousarray(array).reshape(-1)
        if flat.nbytes < _SLICED_BYTES or self.world_size == 1:
            return reduced(self._arrays(flat), op)
        edges = np.linspace(0, flat.size, self.world_size + 1).astype(int)
        own = slice(edges[self.rank], edges[self.rank + 1])
        part = reduced([other[own] for other in self._arrays(flat)], op)
        return np.concatenate(self._arrays(part))

    def rooted(self, array: Any, root: int, op: ReduceOp) -> Any | None:
        """The reduction, on one rank; None on the others."""
        parts = self._exchange([put(array)]) if self.rank != root else self._exchange(None)
        found = None
        if self.rank == root:
            others = [array if part is None else get(part[0]) for part in parts]
            found = reduced(others, op)
        self.barrier()
        return found

    def spread(self, array: Any, root: int) -> Any:
        """The array of one rank."""
        return self._arrays(array if self.rank == root else None)[root]

    def gathered(self, array: Any) -> list[Any]:
        """The arrays of all ranks."""
        return self._arrays(array)

    def scattered(self, arrays: Sequence[Any], op: ReduceOp) -> Any:
        """The reduction of what all ranks have for this one."""
        import numpy as np

        stacked = self._arrays(np.stack([np.asarray(array) for array in arrays]))
        return reduced([other[self.rank] for other in stacked], op)

    def sent(self, array: Any, target: int) -> None:
        """Leave an array for a rank."""
        key = self._message("to", self.rank, target)
        get(self.hub.post.remote(key, [put(array)]))

    def received(self, source: int) -> Any:
        """Wait for the next array of a rank."""
        key = self._message("from", source, self.rank)
        return get(get(self.hub.take.remote(key))[0])

    def _message(self, way: str, source: int, target: int) -> tuple[Any, ...]:
        other = target if way == "to" else source
        number = self._messages[(way, other)] = self._messages.get((way, other), 0) + 1
        return ("message", self._round, source, target, number)
