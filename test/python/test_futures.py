# SPDX-License-Identifier: Apache-2.0
"""Goal: a cancelled future of a ref disturbs no other future.

Method: some futures are cancelled before their tasks end.
"""

from __future__ import annotations

import time

import polyray as ray
import pytest

pytestmark = pytest.mark.usefixtures("runtime")


@ray.remote
def slow(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def test_a_cancelled_future_leaves_the_others() -> None:
    first, second = slow.remote(0.5, 1), slow.remote(0.6, 2)
    cancelled, same, other = first.future(), first.future(), second.future()
    assert cancelled.cancel()
    assert same.result(60) == 1
    assert other.result(60) == 2
    assert cancelled.cancelled()
    assert slow.remote(0, 3).future().result(60) == 3
