# SPDX-License-Identifier: Apache-2.0
"""Goal: get of a list raises as soon as one of its refs has an error.

Method: one task fails while another waits for the test to go on.
"""

from __future__ import annotations

import time
from pathlib import Path

import polyray as ray
import pytest
from polyray.exceptions import GetTimeoutError

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote(max_retries=0)
def fail(seconds: float) -> None:
    time.sleep(seconds)
    raise KeyError("mine")


@ray.remote
def wait_for(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return 1


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_the_first_error_ends_the_wait(tmp_path: Path, seconds: float) -> None:
    gate = tmp_path / "gate"
    waiting = wait_for.remote(str(gate))
    failing = fail.remote(seconds)
    with pytest.raises(KeyError):  # without any error: GetTimeoutError, as the gate is closed
        ray.get([waiting, failing], timeout=60)
    with pytest.raises(KeyError):
        ray.get([waiting, failing], timeout=60)  # settled already
    with pytest.raises(GetTimeoutError):
        ray.get([waiting], timeout=0.01)
    gate.touch()
    assert ray.get([waiting, waiting], timeout=60) == [1, 1]


def test_the_error_of_a_waiting_task_names_both() -> None:
    @ray.remote
    def fails() -> None:
        raise ValueError("first")

    @ray.remote
    def waits(value: object) -> None:
        pass

    with pytest.raises(ValueError, match="first") as told:
        ray.get(waits.remote(fails.remote()))
    text = str(told.value)
    assert text.index("waits()") < text.index("At least one of the input arguments")
    assert text.index("At least one of the input arguments") < text.index("fails()")
    assert isinstance(told.value, ray.exceptions.RayTaskError)
    assert told.value.cause.args == ("first",)
