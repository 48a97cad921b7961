# SPDX-License-Identifier: Apache-2.0
"""Goal: the pool and the queue keep Ray's promises.

Method: small actors against one runtime.
"""

from __future__ import annotations

import polyray as ray
import pytest
from polyray.util import ActorPool, list_named_actors
from polyray.util.queue import Empty, Full, Queue

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
class Doubler:
    def double(self, value: int) -> int:
        return 2 * value


def test_a_pool_gives_results_in_order_and_as_they_come() -> None:
    pool = ActorPool([Doubler.remote(), Doubler.remote()])
    assert list(pool.map(lambda a, v: a.double.remote(v), range(20))) == [2 * v for v in range(20)]
    found = pool.map_unordered(lambda a, v: a.double.remote(v), range(20))
    assert sorted(found) == [2 * v for v in range(20)]
    assert pool.has_free()
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()


def test_a_queue_passes_items_between_tasks() -> None:
    @ray.remote
    def produce(items: Queue, count: int) -> None:
        for i in range(count):
            items.put(i)

    items = Queue(maxsize=5)
    done = produce.remote(items, 20)
    assert [items.get(timeout=60) for _ in range(20)] == list(range(20))
    ray.get(done)
    with pytest.raises(Empty):
        items.get_nowait()
    items.put_nowait_batch([1, 2, 3])
    with pytest.raises(Full):
        items.put_nowait_batch([4, 5, 6])
    assert items.get_nowait_batch(3) == [1, 2, 3]
    assert items.empty()
    items.shutdown()


def test_names_are_listed() -> None:
    named = Doubler.options(name="listed").remote()
    ray.get(named.double.remote(1))
    assert "listed" in list_named_actors()
    assert {"name": "listed", "namespace": ""} in list_named_actors(all_namespaces=True)
