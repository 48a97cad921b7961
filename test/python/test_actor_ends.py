# SPDX-License-Identifier: Apache-2.0
"""Goal: a worker that ends while others than its main thread take the calls ends once, in order,
and its callers hear of that end, never of a half ended actor.

Method: SIGTERM and exit_actor() at the moments that matter: in the constructor, under a flood of
calls, with a slow clean-up; cancellations of calls that have not begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import polyray as ray
import pytest
from polyray.exceptions import RayActorError, TaskCancelledError
from support import eventually

pytestmark = pytest.mark.usefixtures("runtime")


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Ends:
    """Notes the beginning and the end of its clean-up, which takes a while."""

    def __init__(self, notes: str) -> None:
        self.notes = notes

    def note(self, line: str) -> None:
        with open(self.notes, "a") as file:
            file.write(line + "\n")

    def clean(self) -> None:
        self.note("begins to end")
        end = time.monotonic() + 0.5
        while time.monotonic() < end:  # signals come between these
            time.sleep(0.01)
        self.note("has ended")


@ray.remote(num_cpus=0, max_concurrency=4)
class Threads(Ends):
    def pid(self) -> int:
        return os.getpid()

    def leave(self) -> None:
        ray.actor.exit_actor()

    def __ray_shutdown__(self) -> None:
        self.clean()


@ray.remote(num_cpus=0)
class Coroutines(Ends):
    async def pid(self) -> int:
        return os.getpid()

    async def leave(self) -> None:
        ray.actor.exit_actor()

    def __ray_shutdown__(self) -> None:
        self.clean()


def ends_of(actor: Any, refs: list[Any], path: Path) -> None:
    """Every call is answered: with its value, or with the end of the actor."""
    for ref in refs:
        with contextlib.suppress(RayActorError):
            assert isinstance(ray.get(ref, timeout=60), int | None)
    told = "the clean-up ran to its end"
    eventually(lambda: path.exists() and "has ended" in path.read_text(), told)
    assert path.read_text().splitlines() == ["begins to end", "has ended"]


@pytest.mark.parametrize("cls", [Threads, Coroutines])
def test_sigterm_under_a_flood_of_calls(cls: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    actor = cls.remote(str(notes))
    pid = ray.get(actor.pid.remote())
    refs = [actor.pid.remote() for _ in range(300)]
    os.kill(pid, signal.SIGTERM)
    refs += [actor.pid.remote() for _ in range(300)]
    ends_of(actor, refs, notes)
    eventually(lambda: not is_alive(pid), "the process has ended")


@pytest.mark.parametrize("cls", [Threads, Coroutines])
def test_calls_that_are_refused_do_not_cut_the_clean_up_short(cls: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    actor = cls.remote(str(notes))
    pid = ray.get(actor.pid.remote())
    refs = [actor.leave.remote() for _ in range(3)] + [actor.pid.remote() for _ in range(300)]
    ends_of(actor, refs, notes)
    eventually(lambda: not is_alive(pid), "the process has ended")


@pytest.mark.parametrize("limit", [1, 4])
def test_sigterm_in_a_constructor(limit: int, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0, max_concurrency=limit)
    class Slow:
        def __init__(self, folder: str) -> None:
            Path(folder, "pid").write_text(str(os.getpid()))
            while not Path(folder, "go on").exists():
                time.sleep(0.01)

        def ping(self) -> None: ...

    actor = Slow.remote(str(tmp_path))
    ref = actor.ping.remote()
    told = tmp_path / "pid"
    eventually(lambda: told.exists() and told.read_text() != "", "it is made")
    pid = int(told.read_text())
    os.kill(pid, signal.SIGTERM)
    (tmp_path / "go on").write_text("")
    eventually(lambda: not is_alive(pid), "the process has ended")
    with pytest.raises(RayActorError):
        ray.get(ref, timeout=60)


@pytest.mark.parametrize("limit", [1, 1000])
def test_a_call_that_is_cancelled_before_its_loop_begins_it_is_answered(
    limit: int, tmp_path: Path
) -> None:
    @ray.remote(num_cpus=0, max_concurrency=limit)
    class Busy:
        def __init__(self) -> None:
            self.none = ray.put(None)  # this process has calls of its own

        async def hold(self, folder: str) -> None:
            """Blocks the loop, then keeps its place."""
            Path(folder, "blocked").write_text("")
            while not Path(folder, "go on").exists():
                time.sleep(0.01)
            await asyncio.sleep(600)

        async def sleep(self) -> None:
            await asyncio.sleep(600)

        async def never(self) -> str:
            return "it ran"

    actor = Busy.remote()
    first = actor.sleep.remote()  # its cancellation has the process look at each call
    ray.cancel(first)
    with pytest.raises(TaskCancelledError):
        ray.get(first, timeout=60)
    holding = actor.hold.remote(str(tmp_path))
    eventually(lambda: (tmp_path / "blocked").exists(), "the loop is blocked")
    refs = [actor.never.remote() for _ in range(5)]
    for ref in refs:
        ray.cancel(ref)
    (tmp_path / "go on").write_text("")
    for ref in refs:
        with contextlib.suppress(TaskCancelledError):
            assert ray.get(ref, timeout=20) == "it ran"
    ray.cancel(holding)
