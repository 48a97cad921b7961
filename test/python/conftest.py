# SPDX-License-Identifier: Apache-2.0
"""One runtime for the tests of a module; a watchdog with all stacks for each test."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import polyray as ray
import pytest


@pytest.fixture(scope="module")
def runtime() -> Iterator[ray.RayContext]:
    """A runtime of two CPUs."""
    with ray.init(num_cpus=2, resources={"alice": 1}) as context:
        yield context


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(150, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
