# SPDX-License-Identifier: Apache-2.0
"""Running a program in a process of its own, as users do, under a watchdog; and waiting for what
must come true.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

WATCHDOG_S = 120


def run_program(
    source: str, *args: str, env: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Python source; shows its output when it fails."""
    done = subprocess.run(
        [sys.executable, "-c", source, *args],
        capture_output=True,
        text=True,
        timeout=WATCHDOG_S,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until it holds; fails by the watchdog."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.02)


def processes_of(session_id: str) -> list[int]:
    """Processes that carry this session's mark, or were started for it."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                marked = session_id.encode() in file.read()
        except OSError:
            continue
        if marked:
            found.append(int(name))
    return found
