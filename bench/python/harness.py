# SPDX-License-Identifier: Apache-2.0
"""How a row of the benchmark is timed and reported, for whichever runtime the program imports.

A row is a generator function: it makes what it needs, yields `(call, weight)` and cleans up
afterwards. One line of JSON per event goes to standard output, each after MARK: workers' output may
lie between them. bench/ts/harness.ts does the same in TypeScript; the driver of both is
bench/child.ts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

MARK = "@bench "

Body = Callable[["Scale"], Generator[tuple[Callable[[], Any], float], None, None]]


@dataclass(frozen=True)
class Scale:
    """How much a row does: the batch sizes of the rows with many callers."""

    large: int
    middle: int


FULL = Scale(large=10_000, middle=5_000)
QUICK = Scale(large=1_000, middle=1_000)


class Rows:
    """The rows of one program, in the order in which they were declared."""

    def __init__(self) -> None:
        self.bodies: dict[str, Body] = {}

    def row(self, name: str) -> Callable[[Body], Body]:
        """Declare a row."""

        def keep(body: Body) -> Body:
            self.bodies[name] = body
            return body

        return keep


def emit(event: str, **fields: Any) -> None:
    """Report an event to the driver of the benchmark."""
    sys.stdout.write(MARK + json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    """The options that bench/child.ts gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", default="polyray", help="the runtime: polyray or ray")
    parser.add_argument("--rows", default="[]", help="a JSON list of row names")
    parser.add_argument("--warmup-s", type=float, default=1.0)
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--quick", action="store_true", help="smaller batches")
    return parser.parse_args()


def run(rows: Rows, options: argparse.Namespace) -> None:
    """Time the rows asked for."""
    scale = QUICK if options.quick else FULL
    for name in json.loads(options.rows):
        emit("begin", row=name)
        body = rows.bodies.get(name)
        if body is None:
            emit("skipped", row=name, reason="not a row of this program")
            continue
        try:
            prepared = body(scale)
            call, weight = next(prepared)
            rate, count = _timed(call, weight, options.warmup_s, options.window_s)
            next(prepared, None)
            emit("result", row=name, value=rate, calls=count)
        except Exception as error:
            traceback.print_exc()
            text = (str(error).strip() or repr(error)).splitlines()[0]
            emit("failed", row=name, error=f"{type(error).__name__}: {text}"[:300])


def _timed(
    call: Callable[[], Any], weight: float, warmup_s: float, window_s: float
) -> tuple[float, int]:
    # The first call waits for the start of workers; a long one is a warm-up by itself.
    start = time.perf_counter()
    call()
    warm = time.perf_counter() - start > 5 * warmup_s + 2
    count = 0
    start = time.perf_counter()
    while not warm and time.perf_counter() - start < warmup_s:
        call()
        count += 1
    step = count // 10 + 1
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < window_s:
        for _ in range(step):
            call()
        count += step
    return weight * count / (time.perf_counter() - start), count
