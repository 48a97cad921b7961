# SPDX-License-Identifier: Apache-2.0
"""Goal: actors behave as Ray's: order, names, handles as values, errors, death, restart,
concurrency.

Method: small classes against one runtime of two CPUs.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import pathlib
import pickle
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable

import polyray as ray
import pytest
from polyray.exceptions import (
    ActorAlreadyExistsError,
    ActorDiedError,
    InvalidOptionError,
    RayActorError,
)

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def incr(self, by: int = 1) -> int:
        self.value += by
        return self.value

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("no such luck")

    @ray.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.value, -self.value


def test_calls_of_one_caller_run_in_order() -> None:
    counter = Counter.remote(10)
    assert ray.get([counter.incr.remote() for _ in range(1000)]) == list(range(11, 1011))
    assert ray.get(counter.pair.remote()) == [1010, -1010]


def test_a_method_that_raises_leaves_the_actor_alive() -> None:
    counter = Counter.remote()
    with pytest.raises(ValueError, match="no such luck"):
        ray.get(counter.fail.remote())
    assert ray.get(counter.incr.remote()) == 1


def test_unknown_methods_and_direct_calls_are_refused() -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="decr"):
        counter.decr.remote()
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        counter.incr()
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        Counter()


def test_a_handle_can_be_passed_to_tasks_and_actors() -> None:
    @ray.remote
    def use(handle: ray.ActorHandle) -> int:
        return ray.get(handle.incr.remote(5))

    counter = Counter.remote()
    assert ray.get(use.remote(counter)) == 5
    assert ray.get(counter.incr.remote()) == 6


def test_a_name_finds_the_actor_and_is_taken_once() -> None:
    counter = Counter.options(name="the-counter").remote()
    assert ray.get(ray.get_actor("the-counter").incr.remote()) == 1
    with pytest.raises(ActorAlreadyExistsError):
        Counter.options(name="the-counter").remote()
    same = Counter.options(name="the-counter", get_if_exists=True).remote()
    assert same == counter
    assert ray.get(same.incr.remote()) == 2
    with pytest.raises(ValueError, match="nobody"):
        ray.get_actor("nobody")
    with pytest.raises(InvalidOptionError):
        Counter.options(get_if_exists=True).remote()


def test_a_constructor_that_raises_fails_every_call() -> None:
    @ray.remote
    class Broken:
        def __init__(self) -> None:
            raise RuntimeError("cannot start")

        def hello(self) -> None: ...

    broken = Broken.remote()
    with pytest.raises(ActorDiedError, match="cannot start"):
        ray.get(broken.hello.remote(), timeout=60)


def test_kill_ends_the_actor_and_later_calls_fail() -> None:
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote())
    ray.kill(counter)
    with pytest.raises(RayActorError):
        ray.get(counter.incr.remote(), timeout=60)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_crashed_actor_restarts_when_it_may() -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=2).remote(100)
    first = ray.get(counter.pid.remote())
    os.kill(first, signal.SIGKILL)
    second = ray.get(counter.pid.remote(), timeout=60)
    assert second != first
    assert ray.get(counter.incr.remote()) == 101
    os.kill(second, signal.SIGKILL)
    with pytest.raises(RayActorError):
        ray.get([counter.incr.remote() for _ in range(2)], timeout=60)


def test_dropping_the_last_handle_ends_the_process() -> None:
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote())
    del counter
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}"):
        ray.cluster_resources()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_call_under_way_keeps_its_actor_alive() -> None:
    assert ray.get(Counter.remote(4).incr.remote(), timeout=60) == 5


def test_exit_actor_ends_it_from_inside() -> None:
    from polyray.actor import exit_actor

    @ray.remote
    class Leaver:
        def leave(self) -> None:
            exit_actor()

    leaver = Leaver.remote()
    with pytest.raises(RayActorError):
        ray.get(leaver.leave.remote(), timeout=60)


def test_async_methods_interleave() -> None:
    @ray.remote
    class Gate:
        def __init__(self) -> None:
            self.opened = asyncio.Event()

        async def wait(self) -> str:
            await self.opened.wait()
            return "through"

        async def open(self) -> None:
            self.opened.set()

        async def nested(self) -> int:
            return await ray.put(5)

        async def count(self, n: int) -> AsyncIterator[int]:
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    gate = Gate.remote()
    waiting = [gate.wait.remote() for _ in range(5)]
    ray.get(gate.open.remote(), timeout=60)
    assert ray.get(waiting, timeout=60) == ["through"] * 5
    assert ray.get(gate.nested.remote(), timeout=60) == 5
    assert [ray.get(ref) for ref in gate.count.remote(5)] == list(range(5))


def test_threads_run_methods_at_once_with_max_concurrency() -> None:
    @ray.remote(max_concurrency=3)
    class Meeting:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(3)

        def meet(self) -> int:
            return self.barrier.wait(60)

    meeting = Meeting.remote()
    assert sorted(ray.get([meeting.meet.remote() for _ in range(3)], timeout=60)) == [
        0,
        1,
        2,
    ]


def test_two_actors_that_flood_each_other_both_finish() -> None:
    @ray.remote
    class Peer:
        def __init__(self) -> None:
            self.seen = 0

        def take(self, n: int) -> None:
            self.seen += n

        def flood(self, other: ray.ActorHandle, n: int) -> None:
            for _ in range(n):
                other.take.remote(1)

        def total(self) -> int:
            return self.seen

    a, b = Peer.remote(), Peer.remote()
    ray.get([a.flood.remote(b, 3000), b.flood.remote(a, 3000)], timeout=100)
    deadline = time.monotonic() + 60
    while ray.get([a.total.remote(), b.total.remote()]) != [3000, 3000]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_refs_can_be_awaited_and_made_futures() -> None:
    counter = Counter.remote()

    async def use() -> list[int]:
        return await asyncio.gather(*[_value(counter.incr.remote()) for _ in range(20)])

    assert asyncio.run(use()) == list(range(1, 21))
    assert counter.incr.remote().future().result(timeout=60) == 21


async def _value(ref: ray.ObjectRef) -> int:
    return int(await ref)


def test_special_methods_of_a_class_can_be_called() -> None:
    @ray.remote
    class Box:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return 10 * index

    box = Box.remote()
    assert ray.get([box.__len__.remote(), box.__getitem__.remote(2)]) == [3, 20]


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def is_dead(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_a_dropped_actor_ends_while_its_driver_does_nothing() -> None:
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote())
    time.sleep(0.5)  # the driver sleeps by now
    del counter
    assert until(lambda: is_dead(pid))


def test_what_an_actor_created_ends_with_it() -> None:
    @ray.remote(num_cpus=0)
    class Parent:
        def make(self) -> tuple[ray.ActorHandle, int]:
            self.child = Counter.options(num_cpus=0).remote()
            return self.child, ray.get(self.child.pid.remote())

    parent = Parent.remote()
    child, pid = ray.get(parent.make.remote())
    ray.kill(parent)
    assert until(lambda: is_dead(pid))
    with pytest.raises(ActorDiedError, match="its owner has died"):
        ray.get(child.incr.remote(), timeout=60)


def test_calls_that_run_are_answered_when_another_call_leaves() -> None:
    @ray.remote(num_cpus=0, max_concurrency=3)
    class Threads:
        def __init__(self) -> None:
            self.stays, self.left = threading.Event(), threading.Event()

        def leave(self) -> None:
            assert self.stays.wait(60)
            self.left.set()
            ray.actor.exit_actor()

        def stay(self) -> str:
            self.stays.set()
            self.left.wait(60)
            time.sleep(0.3)
            return "answered"

    @ray.remote(num_cpus=0)
    class Coroutines:
        def __init__(self) -> None:
            self.stays, self.left = asyncio.Event(), asyncio.Event()

        async def leave(self) -> None:
            await self.stays.wait()
            self.left.set()
            ray.actor.exit_actor()

        async def stay(self) -> str:
            self.stays.set()
            await self.left.wait()
            await asyncio.sleep(0.3)
            return "answered"

    for cls in (Threads, Coroutines):
        actor = cls.remote()
        staying = actor.stay.remote()
        with pytest.raises(ActorDiedError, match=r"exit_actor\(\) is called"):
            ray.get(actor.leave.remote(), timeout=60)
        assert ray.get(staying, timeout=60) == "answered"


def test_sys_exit_anywhere_in_an_async_actor_ends_it() -> None:
    @ray.remote
    class Leaver:
        def __init__(self, leaves: bool) -> None:
            if leaves:
                sys.exit(1)

        async def leave(self) -> None:
            sys.exit(1)

        async def leave_below(self) -> None:
            async def below() -> None:
                sys.exit(1)

            await asyncio.create_task(below())

        async def leave_beside(self) -> None:
            asyncio.get_running_loop().call_soon(sys.exit, 1)

        async def here(self) -> str:
            return "here"

    with pytest.raises(ActorDiedError):
        ray.get(Leaver.remote(True).here.remote(), timeout=30)
    for name in ("leave", "leave_below"):
        with pytest.raises(ActorDiedError):
            ray.get(getattr(Leaver.remote(False), name).remote(), timeout=30)
    actor = Leaver.remote(False)
    ray.get(actor.leave_beside.remote())
    assert ray.get(actor.here.remote(), timeout=30) == "here"  # nobody awaited it


def test_groups_of_an_async_actor_have_loops_of_their_own() -> None:
    @ray.remote(num_cpus=0, concurrency_groups={"io": 2})
    class Groups:
        async def block(self) -> None:
            self.blocked.wait(60)  # the whole loop

        def __init__(self) -> None:
            self.blocked = threading.Event()

        @ray.method(concurrency_group="io")
        async def free(self) -> str:
            self.blocked.set()
            return "free"

        async def other(self) -> int:
            return threading.get_ident()

    groups = Groups.remote()
    blocking = groups.block.remote()
    assert ray.get(groups.free.remote(), timeout=60) == "free"
    ray.get(blocking, timeout=60)
    own = ray.get(groups.other.remote())
    assert ray.get(groups.other.options(concurrency_group="io").remote()) != own
    with pytest.raises(ValueError, match="no concurrency group 'none'"):
        ray.get(groups.other.options(concurrency_group="none").remote(), timeout=60)


def test_the_graceful_end_runs_shutdown_del_and_atexit(tmp_path: pathlib.Path) -> None:
    @ray.remote(num_cpus=0)
    class Ends:
        def __init__(self, path: pathlib.Path) -> None:
            self.path = path
            atexit.register(lambda: self_note(path, "atexit"))

        def pid(self) -> int:
            return os.getpid()

        def __ray_shutdown__(self) -> None:
            self_note(self.path, "shutdown")

        def __del__(self) -> None:
            self_note(self.path, "del")

    def self_note(path: pathlib.Path, text: str) -> None:
        with path.open("a") as file:
            file.write(f"{text} ")

    for name in ("scope", "terminate", "kill"):
        path = tmp_path / name
        path.touch()
        actor = Ends.remote(path)
        pid = ray.get(actor.pid.remote())
        if name == "terminate":
            actor.__ray_terminate__.remote()
        elif name == "kill":
            ray.kill(actor)
        del actor
        assert until(lambda pid=pid: is_dead(pid))
        wanted = "" if name == "kill" else "shutdown del atexit "
        assert path.read_text() == wanted, name


def test_sigterm_is_no_exit_of_the_actors_own() -> None:
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    pid = ray.get(actor.pid.remote())
    os.kill(pid, signal.SIGTERM)
    assert until(lambda: is_dead(pid))
    assert ray.get(actor.pid.remote(), timeout=60) != pid


def test_pickled_handles_keep_their_actor() -> None:
    counter = Counter.remote()
    data = pickle.dumps({"counter": counter})
    del counter
    assert ray.get(pickle.loads(data)["counter"].incr.remote(), timeout=60) == 1


def test_a_limit_of_pending_calls_travels_with_the_handle() -> None:
    @ray.remote(num_cpus=0, max_pending_calls=1)
    class Slow:
        def sleep(self) -> None:
            time.sleep(1)

    slow = Slow.options(name="slow-one").remote()
    again = ray.get_actor("slow-one")
    running = again.sleep.remote()
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="more than 1 tasks"):
        again.sleep.remote()
    ray.get(running)
    del slow


def test_events_are_a_generator_method_and_attributes_are_not_remote() -> None:
    @ray.remote(num_cpus=0)
    class Bus:
        def __init__(self) -> None:
            self.count = 0
            self.queue: asyncio.Queue[str] = asyncio.Queue()

        @property
        def size(self) -> int:
            return self.queue.qsize()

        async def tell(self, event: str) -> None:
            await self.queue.put(event)

        async def events(self) -> AsyncIterator[str]:
            while (event := await self.queue.get()) != "end":
                yield event

    bus = Bus.remote()
    events = iter(bus.events.remote())
    ray.get(bus.tell.remote("one"))
    assert ray.get(next(events)) == "one"
    ray.get([bus.tell.remote("two"), bus.tell.remote("end")])
    assert [ray.get(ref) for ref in events] == ["two"]
    for name in ("count", "size"):
        with pytest.raises(AttributeError, match=name):
            getattr(bus, name)
