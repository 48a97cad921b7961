# SPDX-License-Identifier: Apache-2.0
"""Compares polyray with real Ray: runs each script of this folder and compares its lines.

`run.py [--record] [NAME...]`. What real Ray printed is kept in `expected/NAME.txt`, so that no Ray
is needed to compare; `--record` writes it anew with the Python of $RAY_PY. A line that starts with
`~` in `expected/NAME.differs` names a line (by its text before the colon) that differs on purpose,
with the reason after it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"
_WATCHDOG_S = 240
_LOGGED = re.compile(r"\s*\w+Error: ")  # Ray writes what methods raise that are tried again


def names() -> list[str]:
    """The scripts."""
    skip = {"run.py", "support.py"}
    return sorted(p.stem for p in HERE.glob("*.py") if p.name not in skip)


def output(name: str, peer: str) -> list[str]:
    """The lines that a script printed."""
    python = os.environ["RAY_PY"] if peer == "ray" else sys.executable
    env = {
        **os.environ,
        "PARITY_PEER": peer,
        "PYTHONPATH": str(HERE),
        "RAY_DEDUP_LOGS": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [python, str(HERE / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=_WATCHDOG_S,
        env=env,
        check=False,
    )
    lines = [
        line.split("\x1b[33m(raylet)")[0]
        for line in done.stdout.splitlines()
        if ": " in line and line[:1] != "(" and not _LOGGED.match(line)
    ]
    if done.returncode != 0:
        raise RuntimeError(
            f"{name} on {peer}: exit code {done.returncode}\n{done.stdout[-2000:]}\n"
            f"{done.stderr[-4000:]}"
        )
    return lines


def record(name: str) -> None:
    """Ask real Ray."""
    (EXPECTED / f"{name}.txt").write_text("\n".join(output(name, "ray")) + "\n")


def differences(name: str) -> list[str]:
    """What polyray prints otherwise; empty when nothing but what is named to differ."""
    wanted = (EXPECTED / f"{name}.txt").read_text().splitlines()
    allowed_file = EXPECTED / f"{name}.differs"
    allowed = set()
    if allowed_file.exists():
        allowed = {
            line[1:].split(":")[0].strip()
            for line in allowed_file.read_text().splitlines()
            if line.startswith("~")
        }
    got = output(name, "polyray")
    wanted_by = {line.split(": ")[0]: line for line in wanted}
    got_by = {line.split(": ")[0]: line for line in got}
    found = []
    for key in dict.fromkeys([*wanted_by, *got_by]):
        if key not in allowed and wanted_by.get(key) != got_by.get(key):
            found.append(f"ray:     {wanted_by.get(key)}\npolyray: {got_by.get(key)}")
    return found


def main(arguments: list[str]) -> int:
    """The command."""
    asked = [a for a in arguments if not a.startswith("-")] or names()
    failed = 0
    for name in asked:
        if "--record" in arguments:
            record(name)
        if not (EXPECTED / f"{name}.txt").exists():
            print(f"{name}: not recorded (run.py --record {name}, with $RAY_PY)")
            failed += 1
            continue
        found = differences(name)
        print(f"{name}: {len(found)} differences")
        for text in found:
            print(text)
        failed += len(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
