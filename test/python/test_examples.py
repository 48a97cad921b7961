# SPDX-License-Identifier: Apache-2.0
"""Goal: the Python half of every example runs, says what it should, and is short.

Method: each main.py as a program of its own, with a smaller amount of work where it takes one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALLER = {
    "03-paillier": ["1000"],
    "05-pi-progress": ["200000"],
    "06-pi-fraction": ["500"],
}
PROGRAMS = sorted(path for path in EXAMPLES.glob("[0-9]*/main.py"))


def test_there_are_examples() -> None:
    assert len(PROGRAMS) >= 8


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.parent.name)
def test_the_example_runs(program: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(program), *SMALLER.get(program.parent.name, [])],
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.parent.name)
def test_the_example_is_short(program: Path) -> None:
    assert len(program.read_text().splitlines()) < 60
