# SPDX-License-Identifier: Apache-2.0
"""Progress bars that work in tasks and actors: `for x in tqdm_ray.tqdm(items, desc="load"): ...`.

In the driver a bar redraws one line of standard error; in a worker it prints a line at most every
`flush_interval_s` seconds, which the driver shows like other lines of workers.
"""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from polyray import runtime

RAY_TQDM_MAGIC = "__ray_tqdm_magic_token__"
_WIDTH = 20
safe_print = builtins.print


class tqdm:
    """A part of tqdm's interface: iteration, update, set_description, refresh, close, n, total."""

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]
        self._iterable = iterable
        self._desc = desc or ""
        self.total = total
        self.n = 0
        self._unit = unit or "it"
        self._every = (
            self.DEFAULT_FLUSH_INTERVAL_SECONDS if flush_interval_s is None else flush_interval_s
        )
        self._shown_at = 0.0
        self._began = time.monotonic()
        self._closed = False

    def set_description(self, desc: str) -> None:
        """Another text before the bar."""
        self._desc = desc
        self._show()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        self._show()

    def refresh(self) -> None:
        """Show it again."""
        self._show()

    def close(self) -> None:
        """Show the end."""
        if not self._closed:
            self._closed = True
            self._show(last=True)

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("No iterable provided")
        for item in self._iterable:
            self.update(1)
            yield item
        self.close()

    def _text(self) -> str:
        head = f"{self._desc}: " if self._desc else ""
        rate = self.n / max(1e-6, time.monotonic() - self._began)
        if not self.total:
            return f"{head}{self.n} {self._unit} [{rate:.1f} {self._unit}/s]"
        share = min(1.0, self.n / self.total)
        bar = "#" * int(share * _WIDTH)
        return (
            f"{head}{share:4.0%}|{bar:<{_WIDTH}}| {self.n}/{self.total} [{rate:.1f} {self._unit}/s]"
        )

    def _show(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._shown_at < self._every:
            return
        self._shown_at = now
        rt = runtime.peek()
        if rt is not None and rt.is_worker:
            safe_print(self._text(), flush=True)
        else:
            sys.stderr.write(f"\r{self._text()}" + ("\n" if last else ""))
            sys.stderr.flush()
