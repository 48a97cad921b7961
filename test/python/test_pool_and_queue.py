# SPDX-License-Identifier: Apache-2.0
"""Goal: polyray.util keeps Ray's promises: actor pools, queues, results as they come, names,
serializers, what cannot be sent.

Method: small actors against one runtime; expectations were compared with Ray (test/parity).
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
import warnings
from typing import Any

import polyray as ray
import pytest
from polyray import util
from polyray.exceptions import ActorDiedError
from polyray.util import ActorPool, annotations, debug, list_named_actors
from polyray.util.queue import Empty, Full, Queue
from polyray.util.timer import _Timer

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote(num_cpus=0)
class Doubler:
    def double(self, value: int) -> int:
        return 2 * value

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def fail(self, value: int) -> None:
        raise ValueError(f"no {value}")

    @ray.method(num_returns=2)
    def pair(self, value: int) -> tuple[int, int]:
        return value, value + 1


def double(actor: Any, value: int) -> Any:
    return actor.double.remote(value)


def test_a_pool_gives_results_in_order_and_as_they_come() -> None:
    pool = ActorPool([Doubler.remote(), Doubler.remote()])
    assert list(pool.map(double, range(20))) == [2 * v for v in range(20)]
    assert sorted(pool.map_unordered(double, range(20))) == [2 * v for v in range(20)]
    assert list(pool.map(lambda a, v: a.pair.remote(v), [1, 5])) == [[1, 2], [5, 6]]
    assert pool.has_free()
    assert not pool.has_next()
    with pytest.raises(StopIteration, match="No more results to get"):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_a_pool_hands_waiting_values_to_actors_that_are_free_again() -> None:
    pool = ActorPool([Doubler.remote()])
    for value in (1, 2, 3):
        pool.submit(double, value)
    assert not pool.has_free()
    assert pool.pop_idle() is None
    extra = Doubler.remote()
    pool.push(extra)  # takes the second value at once
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(extra)
    assert [pool.get_next() for _ in range(3)] == [2, 4, 6]
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is None
    pool.submit(double, 9)  # nobody is there
    assert not pool.has_next()


def test_a_pool_says_when_a_result_is_late() -> None:
    pool = ActorPool([Doubler.remote()])
    pool.submit(lambda a, v: a.sleep.remote(v), 0.3)
    with pytest.raises(TimeoutError, match=r"^Timed out waiting for result$"):
        pool.get_next(timeout=0.01)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0.01)
    with pytest.raises(TimeoutError, match="has been ignored"):
        pool.get_next(timeout=0, ignore_if_timedout=True)
    assert not pool.has_next()
    pool.submit(double, 4)
    assert pool.get_next() == 8  # behind the ignored one
    pool.submit(lambda a, v: a.sleep.remote(v), 0.2)
    assert list(pool.map(double, [1, 2])) == [2, 4]  # what ran before is ignored


def test_a_pool_passes_errors_on_and_leaves_dead_actors_out() -> None:
    pool = ActorPool([Doubler.remote()])
    pool.submit(lambda a, v: a.fail.remote(v), 3)
    with pytest.raises(ValueError, match="no 3"):
        pool.get_next()
    assert pool.has_free()
    pool = ActorPool([Doubler.remote(), Doubler.remote()])
    pool.submit(double, 1)
    pool.submit(double, 2)
    assert pool.get_next_unordered() in (2, 4)
    assert pool.get_next_unordered() in (2, 4)
    pool.submit(double, 1)
    pool._given = pool._submitted  # as after get_next_unordered() of a later one
    with pytest.raises(ValueError, match="not allowed to call get_next"):
        pool.get_next()
    victim = Doubler.remote()
    pool = ActorPool([victim])
    ray.get(victim.double.remote(1))
    ray.kill(victim)
    pool.submit(double, 1)
    with pytest.raises(ActorDiedError):
        pool.get_next()
    assert not pool.has_free()


def test_a_queue_passes_items_between_tasks() -> None:
    @ray.remote
    def produce(items: Queue, count: int) -> None:
        for i in range(count):
            items.put(i)

    items = Queue(maxsize=5, actor_options={"num_cpus": 0, "name": "the-queue"})
    done = produce.remote(items, 20)
    assert [items.get(timeout=60) for _ in range(20)] == list(range(20))
    ray.get(done)
    assert ray.get(ray.get_actor("the-queue").qsize.remote()) == 0
    items.shutdown(force=True)
    assert items.actor is None


def test_a_queue_says_when_it_is_empty_or_full() -> None:
    items = Queue(maxsize=3)
    for take in (items.get_nowait, lambda: items.get(timeout=0.02), lambda: items.get(block=False)):
        with pytest.raises(Empty):
            take()
    items.put_nowait_batch(iter([1, 2, 3]))
    assert (len(items), items.size(), items.qsize(), items.full(), items.empty()) == (
        3, 3, 3, True, False
    )  # fmt: skip
    for put in (items.put_nowait, lambda v: items.put(v, timeout=0.02)):
        with pytest.raises(Full):
            put(4)
    with pytest.raises(Full, match="Cannot add 1 items to queue of size 3 and maxsize 3"):
        items.put_nowait_batch([4])
    with pytest.raises(Empty, match="Cannot get 4 items from queue of size 3"):
        items.get_nowait_batch(4)
    assert items.get_nowait_batch(2) == [1, 2]
    for wrong, error in (
        (lambda: items.put(1, timeout=-1), ValueError),
        (lambda: items.get(timeout=-1), ValueError),
        (lambda: items.get_nowait_batch(-1), ValueError),
        (lambda: items.get_nowait_batch("x"), TypeError),  # type: ignore[arg-type]
        (lambda: items.put_nowait_batch(3), TypeError),  # type: ignore[arg-type]
    ):
        with pytest.raises(error):
            wrong()

    async def pass_one() -> Any:
        await items.put_async("x")
        with pytest.raises(ValueError, match="non-negative"):
            await items.get_async(timeout=-1)
        first = await items.get_async()
        second = await items.get_async(timeout=5)
        with pytest.raises(Empty):
            await items.get_async(block=False)
        return first, second

    assert asyncio.run(pass_one()) == (3, "x")
    items.shutdown(grace_period_s=5)


def test_results_are_given_as_they_come() -> None:
    @ray.remote
    def twice(value: int) -> int:
        return 2 * value

    refs = [twice.remote(i) for i in range(25)]
    assert sorted(util.as_completed(refs, chunk_size=4)) == [2 * i for i in range(25)]
    given = list(util.as_completed(refs[:3], yield_obj_refs=True))
    assert set(given) == set(refs[:3])
    found = util.map_unordered(twice, iter(range(30)), backpressure_size=4, chunk_size=2)
    assert sorted(found) == [2 * i for i in range(30)]
    assert list(util.map_unordered(twice, [], backpressure_size=None)) == []
    for wrong in (
        lambda: list(util.as_completed(refs, chunk_size=0)),
        lambda: list(util.as_completed(refs, num_returns=2)),
        lambda: list(util.map_unordered(twice, [1], backpressure_size=0)),
        lambda: list(util.map_unordered(twice, [1], chunk_size=0)),
        lambda: list(util.map_unordered(twice, [1], num_returns=1)),
    ):
        with pytest.raises(ValueError, match=r"chunk|backpressure"):
            wrong()


def test_names_and_addresses() -> None:
    named = Doubler.options(name="listed").remote()
    ray.get(named.double.remote(1))
    assert "listed" in list_named_actors()
    rows = list_named_actors(all_namespaces=True)
    assert any(row["name"] == "listed" for row in rows)
    assert util.get_node_ip_address() == ray.nodes()[0]["NodeManagerAddress"]
    assert isinstance(util.get_node_instance_id(), str)


def test_what_cannot_be_sent_is_found_and_printed() -> None:
    lock = threading.Lock()

    class Holder:
        def __init__(self) -> None:
            self.fine = 1
            self.lock = lock

    def uses() -> Any:
        return lock

    out = io.StringIO()
    ok, failures = util.inspect_serializability(uses, name="uses", print_file=out)
    assert not ok
    assert [failure.path for failure in failures] == [("uses", "lock")]
    assert "FailTuple(lock [path=uses -> lock" in repr(next(iter(failures)))
    text = out.getvalue()
    assert "Checking Serializability of" in text
    assert "Detected 1 nonlocal variables. Checking serializability..." in text
    assert "cannot pickle '_thread.lock' object" in text
    assert "was found to be non-serializable" in text
    ok, failures = util.inspect_serializability(Holder(), print_file=out)
    assert not ok
    assert next(iter(failures)).obj is lock
    assert util.inspect_serializability([1, ray.put(2)], print_file=out) == (True, set())


def test_a_registered_serializer_is_used_until_it_is_taken_away() -> None:
    class Guarded:
        def __init__(self, value: int) -> None:
            self.value = value
            self.lock = threading.Lock()

    @ray.remote
    def read(guarded: Any) -> int:
        return int(guarded.value)

    with pytest.raises(TypeError):
        ray.put(Guarded(1))
    util.register_serializer(Guarded, serializer=lambda g: g.value, deserializer=Guarded)
    assert ray.get(read.remote(Guarded(5))) == 5
    assert ray.get(ray.put([Guarded(6)]))[0].value == 6
    util.deregister_serializer(Guarded)
    with pytest.raises(TypeError):
        ray.put(Guarded(1))


def test_log_once_and_its_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [util.log_once("key-a"), util.log_once("key-a"), util.log_once("key-b")] == [
        True, False, True
    ]  # fmt: skip
    debug.reset_log_once("key-a")
    assert util.log_once("key-a")
    monkeypatch.setattr(debug._State, "periodic", False)
    util.enable_periodic_logging()
    monkeypatch.setattr(debug._State, "last", time.time() - 61)
    assert not util.log_once("key-a")  # starts the next period
    assert util.log_once("key-a")
    monkeypatch.setattr(debug._State, "disabled", False)
    util.disable_log_once_globally()
    assert not util.log_once("key-c")


def test_annotations_mark_and_warn() -> None:
    @annotations.PublicAPI(stability="beta")
    def public() -> int:
        """Gives one."""
        return 1

    assert "PublicAPI (beta)" in (public.__doc__ or "")
    assert public._annotated_type is annotations.AnnotationType.PUBLIC_API

    @annotations.Deprecated(message="Use new().", warning=True)
    def old() -> int:
        """Gives two."""
        return 2

    with pytest.warns(annotations.RayDeprecationWarning, match=r"Use new\(\)"):
        assert old() == 2

    @annotations.Deprecated(warning=True)
    class Old:
        """Old class."""

    with pytest.warns(annotations.RayDeprecationWarning):
        assert isinstance(Old(), Old)

    @annotations.DeveloperAPI
    class Inner:
        """Inner class."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "DeveloperAPI" in (Inner.__doc__ or "")
    with pytest.raises(ValueError, match="Unknown kwargs"):
        annotations.Deprecated(nothing=1)
    timer = _Timer()
    with timer:
        pass
    timer.push(2.0)
    timer.push_units_processed(4)
    assert timer.count == 2
    assert timer.mean_units_processed == 4
    assert timer.mean >= 1.0
