# SPDX-License-Identifier: Apache-2.0
"""Goal: ids have Ray's sizes and meaning, and the same id reads the same wherever it is shown.

Method: what a driver sees of its refs against what the running task, the actor and the state API
tell; the classes by their constructors.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import polyray as ray
import pytest
from polyray.util import state

SIZES = {
    ray.ObjectRef: 28,
    ray.TaskID: 24,
    ray.ActorID: 16,
    ray.JobID: 4,
    ray.NodeID: 28,
    ray.WorkerID: 28,
    ray.PlacementGroupID: 18,
    ray.UniqueID: 28,
}


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
def test_every_class_is_a_value_of_its_size(runtime: None, kind: type) -> None:
    size = SIZES[kind]
    assert kind.size() == size
    assert kind.nil().is_nil()
    assert kind.nil().binary() == b"\xff" * size
    one = kind(b"a" * size)
    assert (one.hex(), one.binary(), bytes(one)) == ("61" * size, b"a" * size, b"a" * size)
    assert not one.is_nil()
    assert one == kind.from_binary(b"a" * size) == kind.from_hex("61" * size)
    assert hash(one) == hash(kind(b"a" * size))
    assert one != kind(b"b" * size)
    assert one != b"a" * size
    assert repr(one) == f"{kind.__name__}({one.hex()})"
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(ValueError, match=f"needs to have length {size}, got 1"):
        kind(b"a")
    with pytest.raises(TypeError, match="expected bytes"):
        kind("a")


def test_a_ref_made_of_bytes_is_the_same_object(runtime: None) -> None:
    ref = ray.put("kept")
    again = ray.ObjectRef(ref.binary())
    assert again == ref
    assert {ref: 1}[again] == 1
    del ref
    assert ray.get(again) == "kept"
    assert len({ray.ObjectRef.from_random() for _ in range(10)}) == 10
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(ray.ObjectRef.from_random(), timeout=5)


@ray.remote
def shown() -> str | None:
    return ray.get_runtime_context().get_task_id()


@ray.remote(num_returns=3)
def three() -> tuple[str | None, ...]:
    return (ray.get_runtime_context().get_task_id(),) * 3


@ray.remote
class Shown:
    def ids(self) -> tuple[str | None, str | None]:
        context = ray.get_runtime_context()
        return context.get_task_id(), context.get_actor_id()


def test_a_task_has_one_id_everywhere(runtime: None) -> None:
    ref = shown.remote()
    assert ray.get(ref) == ref.task_id().hex()
    assert ref.task_id().job_id() == ref.job_id() == ray.get_runtime_context().job_id
    assert ref.binary()[:24] == ref.task_id().binary()
    no_actor = ref.task_id().actor_id()
    assert no_actor.binary() == b"\xff" * 12 + ref.job_id().binary()
    assert no_actor.job_id == ref.job_id()
    refs = three.remote()
    assert len({one.task_id() for one in refs}) == 1
    assert len(set(refs)) == 3
    assert set(ray.get(refs)) == {refs[2].task_id().hex()}


def test_the_items_of_a_stream_have_the_id_of_its_task(runtime: None) -> None:
    @ray.remote
    def numbers() -> Iterator[int]:
        yield from range(3)

    stream = numbers.remote()
    items = list(stream)
    assert {item.task_id() for item in items} == {stream.completed().task_id()}
    assert len(set(items)) == 3


def test_a_method_names_its_actor(runtime: None) -> None:
    actor = Shown.remote()
    ref = actor.ids.remote()
    task, own = ray.get(ref)
    assert (task, own) == (ref.task_id().hex(), actor._actor_id.hex())
    assert ray.TaskID.from_hex(task).actor_id() == actor._actor_id
    row = state.get_task(task)
    assert (row.task_id, row.actor_id, row.name) == (task, own, "Shown.ids")


def test_the_state_api_shows_the_same_ids(runtime: None) -> None:
    ref, big = shown.remote(), ray.put(b"x" * 200_000)
    ray.get(ref)
    row = state.get_task(ref.task_id())
    assert (row.task_id, row.name) == (ref.task_id().hex(), "shown")
    listed = state.list_tasks(filters=[("task_id", "=", row.task_id)])
    assert [one.name for one in listed] == ["shown"]
    assert row.task_id not in {
        one.task_id for one in state.list_tasks(filters=[("task_id", "!=", row.task_id)])
    }
    assert [one.object_id for one in state.get_objects(big.hex())] == [big.hex()]


def test_a_handle_pickled_outside_of_the_runtime_reaches_its_actor(runtime: None) -> None:
    actor = Shown.remote()
    wanted = actor._actor_id.hex()
    data = ray.cloudpickle.dumps(actor)
    del actor
    assert ray.get(pickle.loads(data).ids.remote())[1] == wanted


def test_the_error_of_a_cancelled_task_names_it(runtime: None) -> None:
    @ray.remote
    def long() -> None:
        import time

        while True:
            time.sleep(0.01)

    ref = long.remote()
    ray.wait([ref], timeout=0.5)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError, match=ref.task_id().hex()):
        ray.get(ref)


@pytest.mark.parametrize("timeout", [None, 0, 0.1])
def test_a_nil_ref_is_no_object_to_get_or_wait_for(runtime: None, timeout: float | None) -> None:
    nil = ray.ObjectRef.__new__(ray.ObjectRef)
    for asked in (
        lambda: ray.get(nil, timeout=timeout),
        lambda: ray.get([ray.put(1), nil], timeout=timeout),
        lambda: ray.wait([nil], timeout=timeout),
        lambda: ray.wait([ray.put(1), nil], num_returns=2, timeout=timeout),
    ):
        with pytest.raises(ValueError, match="nil"):
            asked()
