# SPDX-License-Identifier: Apache-2.0
"""Goal: remote functions behave as Ray's: arguments, results, errors, retries, nesting, cancelling,
streams.

Method: small programs against one runtime of two CPUs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polyray as ray
import pytest
from polyray.exceptions import (
    GetTimeoutError,
    InvalidOptionError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
def add(a: int, b: int = 0) -> int:
    return a + b


@ray.remote
def slow(seconds: float, value: object = None) -> object:
    time.sleep(seconds)
    return value


def test_a_call_gives_a_ref_and_get_its_value() -> None:
    ref = add.remote(1, b=2)
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == 3
    assert ray.get([add.remote(i, i) for i in range(400)]) == [2 * i for i in range(400)]


def test_top_level_refs_arrive_as_values_and_nested_ones_stay_refs() -> None:
    @ray.remote
    def kinds(value: int, nested: list[object]) -> tuple[int, bool, int]:
        inner = nested[0]
        return value, isinstance(inner, ray.ObjectRef), ray.get(inner)

    assert ray.get(kinds.remote(add.remote(2, 3), [add.remote(4, 5)])) == (5, True, 9)


def test_closures_and_lambdas_travel() -> None:
    factor = 7

    @ray.remote
    def apply(f: object, x: int) -> int:
        return f(x) * factor  # type: ignore[operator]

    assert ray.get(apply.remote(lambda x: x + 1, 2)) == 21


def test_several_returns_are_several_refs() -> None:
    @ray.remote(num_returns=3)
    def three() -> tuple[int, int, int]:
        return 1, 2, 3

    refs = three.remote()
    assert ray.get(refs) == [1, 2, 3]
    with pytest.raises(ValueError, match="Task returned 3 objects, but num_returns=2"):
        ray.get(three.options(num_returns=2).remote()[0])


def test_an_error_keeps_its_class_and_its_stack() -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("missing thing")

    with pytest.raises(KeyError) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, RayTaskError)
    assert "missing thing" in str(caught.value)
    assert "in fail" in str(caught.value)
    assert isinstance(caught.value.cause, KeyError)


def test_an_error_that_cannot_be_pickled_still_says_what_it_was() -> None:
    @ray.remote
    def fail() -> None:
        class LocalError(Exception):
            def __init__(self) -> None:
                super().__init__("holds a socket")
                self.lock = __import__("threading").Lock()

        raise LocalError

    with pytest.raises(RayTaskError, match=r"LocalError.*holds a socket"):
        ray.get(fail.remote())


def test_the_error_of_an_argument_is_the_error_of_the_call() -> None:
    @ray.remote
    def fail() -> int:
        raise ZeroDivisionError("upstream")

    with pytest.raises(ZeroDivisionError, match="upstream"):
        ray.get(add.remote(fail.remote(), 1))


def test_nested_tasks_run_while_their_parents_wait() -> None:
    @ray.remote
    def parent(depth: int) -> int:
        return 1 if depth == 0 else 1 + ray.get(parent.remote(depth - 1))

    assert ray.get(parent.remote(4)) == 5


def test_retry_exceptions_runs_again_until_it_works(tmp_path: Path) -> None:
    @ray.remote(max_retries=5, retry_exceptions=[OSError])
    def flaky(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise OSError("not yet")
        return os.path.getsize(path)

    assert ray.get(flaky.remote(str(tmp_path / "count"))) == 3


def test_the_body_knows_which_attempt_it_is() -> None:
    @ray.remote(max_retries=3, retry_exceptions=True)
    def attempt() -> int:
        number = ray.get_runtime_context().get_attempt_number()
        if number == 0:
            raise OSError("the first")
        if number == 1:
            os._exit(1)
        return number

    @ray.remote(max_task_retries=2, num_cpus=0)
    class Actor:
        @ray.method(retry_exceptions=True)
        def attempt(self) -> int:
            number = ray.get_runtime_context().get_attempt_number()
            if number < 2:
                raise OSError("not yet")
            return number

        async def wait(self) -> int:
            return ray.get_runtime_context().get_attempt_number()

    assert ray.get_runtime_context().get_attempt_number() == 0
    assert ray.get(attempt.remote()) == 2
    actor = Actor.remote()
    assert ray.get([actor.attempt.remote(), actor.wait.remote()]) == [2, 0]


def test_wait_on_a_thousand_refs_until_all_are_ready() -> None:
    @ray.remote
    def same(x: int) -> int:
        return x

    left = refs = [same.remote(i) for i in range(1000)]
    seen: list[int] = []
    step = 1
    while left:
        number = min(step, len(left))
        ready, rest = ray.wait(left, num_returns=number)
        assert len(ready) == number
        kept = set(rest)
        assert rest == [ref for ref in left if ref in kept]
        seen += ray.get(ready)
        left, step = rest, step % 7 + 1
    assert sorted(seen) == list(range(1000))
    ready, rest = ray.wait(refs, num_returns=1000, timeout=0)
    assert (ready, rest) == (refs, [])


class Part:
    def here(self) -> int:
        return 1


def test_fractions_add_up_exactly_in_steps_of_a_ten_thousandth() -> None:
    def part(amount: float) -> Any:
        return ray.remote(Part).options(num_cpus=0, resources={"alice": amount}).remote()

    parts = [*(part(0.3333) for _ in range(3)), part(0.0001)]
    assert ray.get([one.here.remote() for one in parts]) == [1] * 4
    assert ray.available_resources().get("alice", 0) == 0
    late = part(0.0001)
    first = late.here.remote()
    assert ray.wait([first], timeout=0.1)[0] == []
    ray.kill(parts[0])
    assert ray.get(first) == 1


def test_logical_memory_holds_work_back() -> None:
    part = int(ray.cluster_resources()["memory"] * 0.6)
    options = ray.remote(Part).options(num_cpus=0, memory=part)
    one = options.remote()
    assert ray.get(one.here.remote()) == 1
    assert ray.available_resources()["memory"] < part
    two = options.remote()
    first = two.here.remote()
    assert ray.wait([first], timeout=0.1)[0] == []
    ray.kill(one)
    assert ray.get(first) == 1


def test_a_dead_worker_is_an_error_after_the_retries(tmp_path: Path) -> None:
    @ray.remote(max_retries=1)
    def die(path: str) -> None:
        with open(path, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashedError):
        ray.get(die.remote(str(tmp_path / "count")), timeout=60)
    assert (tmp_path / "count").read_text() == "xx"


def test_a_task_that_leaves_by_sys_exit_fails_with_its_reason() -> None:
    @ray.remote(max_retries=0)
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(WorkerCrashedError):
        ray.get(leave.remote(), timeout=60)
    assert ray.get(add.remote(1, 1), timeout=60) == 2


def test_get_with_a_timeout_raises_and_the_value_comes_later() -> None:
    ref = slow.remote(1.0, "late")
    with pytest.raises(GetTimeoutError):
        ray.get(ref, timeout=0.05)
    with pytest.raises(TimeoutError):
        ray.get([ref], timeout=0)
    assert ray.get(ref) == "late"


def test_wait_splits_ready_from_the_rest_in_order() -> None:
    quick, late = add.remote(1, 1), slow.remote(30)
    ready, rest = ray.wait([late, quick], num_returns=1, timeout=30)
    assert (ready, rest) == ([quick], [late])
    assert ray.wait([late], timeout=0.01) == ([], [late])
    with pytest.raises(ValueError, match="unique ray_waitables"):
        ray.wait([quick, quick])
    ray.cancel(late, force=True)


def test_cancel_interrupts_a_running_task_and_drops_a_queued_one() -> None:
    running = slow.remote(100)
    time.sleep(0.5)
    queued = [slow.remote(100) for _ in range(4)]
    for ref in [*queued, running]:
        ray.cancel(ref)
    for ref in [*queued, running]:
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
    assert ray.get(add.remote(2, 2), timeout=30) == 4


def test_a_generator_streams_refs_while_it_runs() -> None:
    @ray.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    assert [ray.get(ref) for ref in count.remote(50)] == list(range(50))

    @ray.remote
    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("mid stream")

    stream = breaks.remote()
    assert ray.get(next(stream)) == 1
    failed = next(stream)
    with pytest.raises(ValueError, match="mid stream"):
        ray.get(failed)
    with pytest.raises(StopIteration):
        next(stream)


def test_custom_resources_and_names_are_accepted_and_wrong_options_are_not() -> None:
    assert ray.get(add.options(resources={"alice": 1}, name="adder").remote(1, 1)) == 2
    with pytest.raises(InvalidOptionError, match="num_cpu"):
        add.options(num_cpu=1)
    with pytest.raises(InvalidOptionError, match="num_cpus"):
        add.options(num_cpus=-1)
    with pytest.raises(TypeError, match=r"add\.remote"):
        add(1)


def test_an_argument_that_cannot_be_sent_is_named() -> None:
    from polyray.exceptions import UnserializableException

    with pytest.raises(UnserializableException, match=r"args\[0\]"):
        add.remote(threading.Lock())


def test_fire_and_forget_runs_while_the_driver_does_something_else(
    tmp_path: Path,
) -> None:
    @ray.remote
    def touch(path: str) -> None:
        Path(path).touch()

    touch.remote(str(tmp_path / "done"))
    deadline = time.monotonic() + 30
    while not (tmp_path / "done").exists():  # no call into polyray
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_runtime_env_variables_reach_the_worker() -> None:
    @ray.remote(runtime_env={"env_vars": {"POLYRAY_TEST_COLOUR": "blue"}})
    def colour() -> str | None:
        return os.environ.get("POLYRAY_TEST_COLOUR")

    assert ray.get(colour.remote()) == "blue"


def test_the_context_tells_who_runs() -> None:
    @ray.remote
    def who() -> tuple[object, ...]:
        context = ray.get_runtime_context()
        return context.get_task_id(), context.get_task_name(), context.get_job_id()

    ref = who.remote()
    task, name, job = ray.get(ref)
    assert task == ref.task_id().hex()
    assert "who" in str(name)
    assert job == ray.get_runtime_context().get_job_id()
    assert ray.get_runtime_context().get_task_id() is None


@pytest.mark.parametrize("room", [1, 2, 3, 16])
def test_a_stream_has_room_for_as_many_items_as_asked(room: int) -> None:
    @ray.remote
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    refs = count.options(_generator_backpressure_num_objects=room).remote(40)
    assert [ray.get(ref, timeout=60) for ref in refs] == list(range(40))


def test_a_priority_is_an_option_and_a_wrong_one_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="priority must be a whole number"):
        add.options(priority=2**31)
    with pytest.raises(TypeError, match="priority"):
        add.options(priority="high")
    assert ray.get(add.options(priority=7).remote(1, 2), timeout=60) == 3


def test_a_function_that_carries_too_much_along_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    much, too_much = bytes(20 << 20), bytes(100 << 20)

    @ray.remote
    def warns() -> int:
        return len(much)

    @ray.remote
    def refused() -> int:
        return len(too_much)

    assert ray.get(warns.remote()) == 20 << 20
    assert "warns is very large (20 MiB)" in caplog.text
    with pytest.raises(ValueError, match=r"refused is too large \(100 MiB > "):
        refused.remote()
