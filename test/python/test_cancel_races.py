# SPDX-License-Identifier: Apache-2.0
"""Goal: a cancellation that comes when user code has just returned never ends a worker or an actor.

Method: interrupts placed after the native reply, and many short calls cancelled at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import polyray as ray
import pytest
from polyray.exceptions import TaskCancelledError
from support import eventually

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def interrupt_after_reply(self, where: str) -> None:
        """From the next call on, once: KeyboardInterrupt when the call was answered."""
        from polyray.executor import Executor

        original = getattr(Executor, where)

        def late(self: Executor, call: object, *rest: object) -> None:
            original(self, call, *rest)
            if call.method == "add":  # type: ignore[attr-defined]
                setattr(Executor, where, original)
                raise KeyboardInterrupt("too late")

        setattr(Executor, where, late)


@pytest.mark.parametrize("where", ["finish", "run_method", "_take_method"])
def test_an_interrupt_after_the_reply_leaves_the_actor_alive(where: str) -> None:
    actor = Counter.remote()
    pid = ray.get(actor.pid.remote())
    ray.get(actor.interrupt_after_reply.remote(where))
    assert ray.get(actor.add.remote()) == 1
    assert ray.get(actor.add.remote()) == 2
    assert ray.get(actor.pid.remote()) == pid


def test_an_actor_survives_cancellations_at_any_moment() -> None:
    actor = Counter.remote()
    pid = ray.get(actor.pid.remote())
    for round_number in range(300):
        refs = [actor.add.remote() for _ in range(1 + round_number % 4)]
        ray.cancel(refs[round_number % len(refs)])
        for ref in refs:
            with contextlib.suppress(TaskCancelledError):
                ray.get(ref)
    assert ray.get(actor.pid.remote()) == pid


@ray.remote(num_cpus=0)
class Board:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def lines(self) -> list[str]:
        return self.notes

    def take(self) -> list[str]:
        taken, self.notes = self.notes, []
        return taken


@ray.remote(num_cpus=0)
def waits(actor: Any, name: str) -> None:
    """Tells that it runs, then until when it was interrupted."""
    ray.get(actor.note.remote(f"{name} runs"))
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        ray.get(actor.note.remote(f"{name} stopped"))
        raise


@ray.remote(num_cpus=0)
def parent_of(actor: Any, names: list[str]) -> None:
    """Signals come again before each child is told of the cancellation."""
    import polyray.actor as calls

    original = calls.cancel_id
    count = 0

    def interrupted(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count <= 8:
            os.kill(os.getpid(), signal.SIGINT)
        original(*arguments)

    calls.cancel_id = interrupted
    try:
        ray.get([waits.remote(actor, name) for name in names])
    finally:
        calls.cancel_id = original


def test_signals_amid_the_cancellation_of_children_leave_none_out() -> None:
    board = Board.remote()
    names = ["a", "b", "c"]
    for _ in range(3):
        ref = parent_of.remote(board, names)
        eventually(lambda: len(ray.get(board.lines.remote())) == len(names), "they run")
        ray.cancel(ref)
        with pytest.raises(TaskCancelledError):
            ray.get(ref)
        eventually(
            lambda: len(ray.get(board.lines.remote())) == 2 * len(names), "all were interrupted"
        )
        lines = ray.get(board.take.remote())
        assert sorted(lines[len(names) :]) == [f"{name} stopped" for name in names]
