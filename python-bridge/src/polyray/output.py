# SPDX-License-Identifier: Apache-2.0
"""A worker's standard streams: lines go to its log file, marked with the name of what printed them.

The node service tails the file; a line `\\x1epolyray-name:<name>` sets the name for what follows.
It is written only when something is printed by another task or actor than before.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

_MARK = "\x1epolyray-name:"


class NamedStream:
    """Wraps a text stream; everything but write() is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = ""
        self.name_now = ""

    def write(self, text: str) -> int:
        """Write, after the mark when the name changed."""
        if text and self._shown != self.name_now:
            self._shown = self.name_now
            self._stream.write(f"{_MARK}{self.name_now}\n")
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        """Write them one after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_streams: list[NamedStream] = []


def install() -> None:
    """Wrap sys.stdout and sys.stderr; lines are written out at once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            continue
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
        named = NamedStream(stream)
        _streams.append(named)
        setattr(sys, name, named)


def show(name: str) -> None:
    """What runs from now on."""
    for stream in _streams:
        stream.name_now = name
