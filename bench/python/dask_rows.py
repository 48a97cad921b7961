# SPDX-License-Identifier: Apache-2.0
"""The rows that Dask distributed has: the jobs of rows.py by its client, processes on this machine.

`--start` measures the start instead, as startup.py does.
"""

from __future__ import annotations

import logging
import os
import sys
import time

importing = time.perf_counter()

import distributed  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

import_ms = (time.perf_counter() - importing) * 1e3

import harness  # noqa: E402
import numpy as np  # noqa: E402

rows = harness.Rows()
row = rows.row
BATCH = 1_000
QUEUED = 2_000


def small_value(_=None):
    return b"ok"


def hold(file):
    """Occupies its worker until the file exists."""
    while not os.path.exists(file):
        time.sleep(0.005)


class Server:
    def small_value(self):
        return b"ok"


def start() -> Client:
    """One process with one thread for each core, as the others have."""
    cluster = LocalCluster(
        n_workers=os.cpu_count() or 2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.ERROR,
    )
    return Client(cluster)


def submit(function, *args):
    """A task of its own each time: Dask would take equal calls for one."""
    return client.submit(function, *args, pure=False)


def submit_many(count):
    """Many tasks at once, by the call that Dask has for it."""
    return client.map(small_value, range(count), pure=False)


@row("memory of a queued task")
def _(scale):
    def close(gate):
        return [submit(hold, gate) for _ in range(os.cpu_count() or 2)]

    yield None, harness.queued_bytes(QUEUED, close, lambda: submit_many(QUEUED), client.gather)


@row("single client get calls")
def _(scale):
    value = client.scatter(0)
    yield value.result, 1


@row("single client put calls")
def _(scale):
    yield lambda: client.scatter(0, hash=False), 1


@row("single client put gigabytes")
def _(scale):
    array = np.zeros(100 * 1024 * 1024, dtype=np.int64)
    yield lambda: client.scatter(array, hash=False), 8 * 0.1


@row("single client tasks and get batch")
def _(scale):
    yield lambda: client.gather(submit_many(BATCH)), 1


@row("wait 1k refs")
def _(scale):
    def wait_for_all():
        not_done = submit_many(BATCH)
        while not_done:
            not_done = list(distributed.wait(not_done, return_when="FIRST_COMPLETED").not_done)

    yield wait_for_all, 1


@row("single client tasks sync")
def _(scale):
    yield lambda: submit(small_value).result(), 1


@row("single client tasks async")
def _(scale):
    yield lambda: client.gather(submit_many(BATCH)), BATCH


@row("1:1 actor calls sync")
def _(scale):
    server = client.submit(Server, actor=True).result()
    yield lambda: server.small_value().result(), 1


@row("1:1 actor calls async")
def _(scale):
    server = client.submit(Server, actor=True).result()

    def batch():
        for future in [server.small_value() for _ in range(BATCH)]:
            future.result()

    yield batch, BATCH


def measure_start() -> None:
    submit(small_value).result()
    harness.emit(
        "ready",
        version=distributed.__version__,
        importMs=import_ms,
        firstResultMs=(time.perf_counter() - starting) * 1e3,
        endedAtMs=time.time() * 1e3,
    )
    sys.stdin.read()


if __name__ == "__main__":
    only_start = "--start" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--start"]
    options = harness.arguments()
    starting = time.perf_counter()
    client = start()
    if only_start:
        measure_start()
    else:
        harness.emit("ready", version=distributed.__version__)
        harness.run(rows, options)
    client.shutdown()
    harness.emit("end")
