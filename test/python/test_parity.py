# SPDX-License-Identifier: Apache-2.0
"""Goal: programs behave as on Ray: the same values, classes of errors and texts.

Method: each script of test/parity runs on polyray; its lines must equal those that real Ray printed
(test/parity/expected), but for the lines that `NAME.differs` names with a reason.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))

import run


@pytest.mark.parametrize("name", run.names())
def test_prints_what_ray_prints(name: str) -> None:
    found = run.differences(name)
    assert not found, "\n".join(found)
