# SPDX-License-Identifier: Apache-2.0
"""How a row of the benchmark is timed and reported, for whichever runtime the program imports.

A row is a generator function: it makes what it needs, yields `(call, weight)` and cleans up
afterwards; one that measures by itself yields `(None, value)`. One line of JSON per event goes to
standard output, each after MARK: workers' output may lie between them. bench/ts/harness.ts does the
same in TypeScript; the driver of both is bench/child.ts.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import tempfile
import time
import traceback
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

MARK = "@bench "

Body = Callable[["Scale"], Generator[tuple[Callable[[], Any] | None, float], None, None]]


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


def ask_usage(what: str = "pssBytes") -> float:
    """What the driver of the benchmark counts of all our processes: "pssBytes" or "cpuS"."""
    if sys.stdin.isatty():
        return 0
    emit("usage")
    return float(json.loads(sys.stdin.readline() or "{}").get(what, 0))


def queued_bytes(
    count: int,
    close: Callable[[str], list[Any]],
    submit: Callable[[], list[Any]],
    finish: Callable[[list[Any]], Any],
) -> float:
    """Bytes of one of `count` tasks that wait.

    `close` occupies the workers until a file exists, and gives what waits for it.
    """
    with tempfile.TemporaryDirectory() as folder:
        gate = os.path.join(folder, "gate")
        waiting = close(gate)
        before = ask_usage()
        queued = submit()
        bytes_each = (ask_usage() - before) / count
        open(gate, "w").close()
        finish(queued + waiting)
    return bytes_each


def arguments() -> argparse.Namespace:
    """The options that bench/child.ts gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", default="polyray", help="the runtime: polyray or ray")
    parser.add_argument("--rows", default="[]", help="a JSON list of row names")
    parser.add_argument("--plan", default="[]", help="growth.py: rows and their loads, JSON")
    parser.add_argument("--store-bytes", type=int, default=2**31, help="growth.py: object store")
    parser.add_argument("--warmup-s", type=float, default=1.0)
    parser.add_argument("--window-s", type=float, default=2.0)
    parser.add_argument("--latency-rows", default="[]", help="rows whose single calls are timed")
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
            if call is None:  # it measured by itself
                emit("result", row=name, value=weight)
                next(prepared, None)
                continue
            timed = _timed(call, options, name in json.loads(options.latency_rows))
            next(prepared, None)
            emit(
                "result",
                row=name,
                value=weight * timed.count / timed.seconds,
                calls=timed.count,
                cpuUs=timed.cpu_s * 1e6 / (timed.count * weight),
                latencyUs=timed.latencies,
            )
        except Exception as error:
            traceback.print_exc()
            text = (str(error).strip() or repr(error)).splitlines()[0]
            emit("failed", row=name, error=f"{type(error).__name__}: {text}"[:300])


@dataclass(frozen=True)
class Timed:
    """One window: `latencies` are 32-bit floats (microseconds) in base64."""

    count: int
    seconds: float
    cpu_s: float
    latencies: str | None


def _timed(call: Callable[[], Any], options: argparse.Namespace, lone: bool) -> Timed:
    # The first call waits for the start of workers; a long one is a warm-up by itself.
    start = time.perf_counter()
    call()
    warm = time.perf_counter() - start > 5 * options.warmup_s + 2
    count = 0
    start = time.perf_counter()
    while not warm and time.perf_counter() - start < options.warmup_s:
        call()
        count += 1
    step = count // 10 + 1
    cpu_before = ask_usage("cpuS")
    run_window = _lone_calls if lone else _calls
    count, seconds, latencies = run_window(call, options.window_s, step)
    return Timed(count, seconds, ask_usage("cpuS") - cpu_before, latencies)


def _calls(call: Callable[[], Any], window_s: float, step: int) -> tuple[int, float, None]:
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < window_s:
        for _ in range(step):
            call()
        count += step
    return count, time.perf_counter() - start, None


def _lone_calls(call: Callable[[], Any], window_s: float, step: int) -> tuple[int, float, str]:
    latencies = array("f")
    start = before = time.perf_counter()
    while before - start < window_s:
        call()
        after = time.perf_counter()
        latencies.append((after - before) * 1e6)
        before = after
    return len(latencies), before - start, base64.b64encode(latencies.tobytes()).decode()
