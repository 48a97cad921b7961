# SPDX-License-Identifier: Apache-2.0
"""Goal: when memory runs out a task runs again, uncounted, or fails with OutOfMemoryError; an
actor dies and says why; what began earlier goes on.

Method: the monitor reads a scratch folder. A task makes memory look full by a link to a file that
it holds open, so that its end makes the figure go away at once: nobody else can be ended for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import polyray as ray
import pytest
from polyray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    OutOfMemoryError,
)
from support import eventually


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("memory")
    (place / "proc").mkdir()
    settings = {"memory_usage_threshold": 0.9, "memory_monitor_refresh_ms": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYRAY_MEMORY_ROOT", str(place))
        ray.init(num_cpus=4, log_to_driver=False, _system_config=settings)
    yield place
    ray.shutdown()


def fill(root: Path) -> None:
    """Memory is full as long as this process lives."""
    full = root / f"full-{os.getpid()}"
    full.write_text("MemTotal: 1000000 kB\nMemAvailable: 10000 kB\n")
    link = root / f"link-{os.getpid()}"
    link.symlink_to(f"/proc/{os.getpid()}/fd/{os.open(full, os.O_RDONLY)}")
    link.rename(root / "proc" / "meminfo")
    while True:
        time.sleep(1)


@ray.remote
def hungry(root: Path, log: Path, times: int) -> list[str]:
    """Fill the memory in the first runs."""
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")
    runs = log.read_text().split()
    if len(runs) <= times:
        fill(root)
    return runs


@ray.remote
def patient(begun: Path, over: Path) -> int:
    begun.write_text(str(os.getpid()))
    while not over.exists():
        time.sleep(0.01)
    return os.getpid()


@ray.remote
class Hoarder:
    def pid(self) -> int:
        return os.getpid()

    def hoard(self, root: Path) -> None:
        fill(root)


def test_the_newest_task_runs_again_without_using_up_its_retries(root: Path) -> None:
    begun, over = root / "begun", root / "over"
    older = patient.remote(begun, over)
    eventually(lambda: begun.exists() and begun.read_text() != "", "the older task runs")
    runs = ray.get(hungry.options(max_retries=1).remote(root, root / "log", 3))
    assert len(set(runs)) == 4
    over.touch()
    assert ray.get(older) == int(begun.read_text())


@pytest.mark.parametrize("retries", [0, 3])
def test_the_only_task_of_its_owner_fails(root: Path, retries: int) -> None:
    log = root / f"alone-{retries}"
    with pytest.raises(OutOfMemoryError, match="threshold is 90 %") as caught:
        ray.get(hungry.options(max_retries=retries).remote(root, log, 9))
    pid = log.read_text().strip()
    assert f'hungry" (pid {pid}) was ended because node' in str(caught.value)


def test_an_actor_that_may_restart_does(root: Path) -> None:
    hoarder = Hoarder.options(max_restarts=1).remote()
    first = ray.get(hoarder.pid.remote())
    with pytest.raises(ActorUnavailableError):
        ray.get(hoarder.hoard.remote(root))
    assert ray.get(hoarder.pid.remote()) != first


def test_an_actor_that_may_not_restart_is_dead_for_lack_of_memory(root: Path) -> None:
    hoarder = Hoarder.remote()
    pid = ray.get(hoarder.pid.remote())
    with pytest.raises(ActorDiedError) as caught:
        ray.get(hoarder.hoard.remote(root))
    assert f'[out of memory] the actor "Hoarder" (pid {pid}) was ended' in str(caught.value)
