# SPDX-License-Identifier: Apache-2.0
"""What a unit of work costs as the load grows, in Python; bench/ts/growth.ts says what and why.

The driver of both is bench/growth.ts, which gives the loads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

options = harness.arguments()
ray: Any = importlib.import_module(options.module)

GATE = Path(tempfile.gettempdir()) / f"polyray-gate-{os.getpid()}"
CPUS = 2
MEMORY_FROM = 10_000  # below, the steps in which memory is taken outweigh what a unit takes
GETS = 50_000  # of one object, spread over all
IN_PLACE = 2**16  # bytes; smaller values are copied by a get

Costs = dict[str, float]


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def hold(file):
    while not os.path.exists(file):
        time.sleep(0.002)


@ray.remote
def same(value):
    return value


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.calls = 0

    def hold(self, file):
        while not os.path.exists(file):
            time.sleep(0.002)

    def add(self):
        self.calls += 1
        return self.calls


def now() -> float:
    return time.perf_counter() * 1e6


def memory() -> float:
    gc.collect()
    return harness.ask_usage()


def queued(load: int, close: Callable[[], list[Any]], submit: Callable[[], Any]) -> Costs:
    """Submit behind a closed gate, then open it; `close` gives what waits at the gate."""
    GATE.unlink(missing_ok=True)
    waiting = close()
    before = memory() if load >= MEMORY_FROM else 0
    start = now()
    refs = [submit() for _ in range(load)]
    submitted = now()
    after = memory() if load >= MEMORY_FROM else 0
    opened = now()
    GATE.touch()
    ray.get(refs)
    done = now()
    ray.get(waiting)
    costs = {"submit": (submitted - start) / load, "drain": (done - opened) / load}
    if load >= MEMORY_FROM:
        costs["memory"] = (after - before) / load
    return costs


def queued_tasks(load: int) -> Costs:
    return queued(load, lambda: [hold.remote(str(GATE)) for _ in range(CPUS)], small_value.remote)


def queued_calls(load: int) -> Costs:
    actor = Counter.remote()
    ray.get(actor.add.remote())
    costs = queued(load, lambda: [actor.hold.remote(str(GATE))], actor.add.remote)
    ray.kill(actor)
    return costs


def dependents(load: int) -> Costs:
    """Tasks whose argument is not there yet: one ref, sealed when all of them wait for it."""
    GATE.unlink(missing_ok=True)
    source = hold.remote(str(GATE))
    start = now()
    refs = [same.remote(source) for _ in range(load)]
    submitted = now()
    GATE.touch()
    ray.get(refs)
    return {"submit": (submitted - start) / load, "drain": (now() - submitted) / load}


def actors(load: int) -> Costs:
    before = memory()
    start = now()
    handles = [Counter.remote() for _ in range(load)]
    ray.get([handle.add.remote() for handle in handles])
    started = now()
    after = memory()
    rounds = -(-2_000 // load)
    called = now()
    for _ in range(rounds):
        ray.get([handle.add.remote() for handle in handles])
    done = now()
    for handle in handles:
        ray.kill(handle)
    return {
        "start": (started - start) / load,
        "call": (done - called) / (rounds * load),
        "memory": (after - before) / load,
    }


def live_objects(load: int) -> Costs:
    before = memory() if load >= MEMORY_FROM else 0
    start = now()
    refs = [ray.put(i) for i in range(load)]
    stored = now()
    after = memory() if load >= MEMORY_FROM else 0
    step = max(1, load // GETS)
    reading = now()
    for i in range(GETS):
        ray.get(refs[i * step % load])
    read = now()
    ray.get(refs)
    everything = now()
    ray.wait(refs, num_returns=load)
    waited = now()
    refs.clear()
    released = now()
    costs = {
        "put": (stored - start) / load,
        "get": (read - reading) / GETS,
        "get of a list": (everything - read) / load,
        "wait": (waited - everything) / load,
        "release": (released - waited) / load,
    }
    if load >= MEMORY_FROM:
        costs["memory"] = (after - before) / load
    return costs


def sizes(load: int) -> Costs:
    """`load` bytes at a time; the cost of a put is that of a KiB, of a get that of one get.

    A put's copy leaves the processor's caches without our code. Another object is read in between,
    so that this is not counted as a cost of get; all that the size could cost is.
    """
    data = np.full(load, 7, dtype=np.uint8)
    other = ray.put(data[: 2 * IN_PLACE])
    puts, gets = [], []
    for _ in range(max(3, min(2_000, 2**31 // load))):
        start = now()
        ref = ray.put(data)
        stored = now()
        for _ in range(8):
            ray.get(other)
        asked = now()
        back = ray.get(ref)
        gets.append(now() - asked)
        puts.append((stored - start) * 1024 / load)
        if back.nbytes != load:
            raise ValueError(f"{back.nbytes} bytes came back")
        del ref, back
    get = "get in place" if load >= IN_PLACE else "get of a copy"
    return {"put of a KiB": statistics.median(puts), get: statistics.median(gets)}


ROWS: dict[str, Callable[[int], Costs]] = {
    "queued tasks": queued_tasks,
    "queued actor calls": queued_calls,
    "tasks waiting for one ref": dependents,
    "actors": actors,
    "live objects": live_objects,
    "object size": sizes,
}


def repeated(row: Callable[[int], Costs], load: int, times: int) -> Costs:
    """The medians over several times the same load; of memory the most: later times reuse it."""
    found = [row(load) for _ in range(times)]
    return {
        curve: (max if curve == "memory" else statistics.median)([one[curve] for one in found])
        for curve in found[0]
    }


def run(plan: list[dict[str, Any]]) -> None:
    for item in plan:
        row = item["row"]
        harness.emit("begin", row=row)
        try:
            for point in item["loads"]:
                costs = repeated(ROWS[row], point["load"], point["times"])
                harness.emit("point", row=row, load=point["load"], costs=costs)
            harness.emit("result", row=row, value=len(item["loads"]))
        except Exception as error:
            traceback.print_exc()
            text = (str(error).strip() or repr(error)).splitlines()[0]
            harness.emit("failed", row=row, error=f"{type(error).__name__}: {text}"[:300])


if __name__ == "__main__":
    ray.init(num_cpus=CPUS, object_store_memory=options.store_bytes)
    ray.get([small_value.remote() for _ in range(CPUS * 4)])
    harness.emit("ready", version=ray.__version__)
    run(json.loads(options.plan))
    ray.shutdown()
    GATE.unlink(missing_ok=True)
    harness.emit("end")
