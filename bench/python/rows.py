# SPDX-License-Identifier: Apache-2.0
"""The rows of Ray's microbenchmark in Python: driver and workers, one file for polyray and Ray.

`--module` names the runtime. What a row does (batch sizes, resources, numbers of actors) is what
Ray's own `ray microbenchmark` does, so that the figures can be compared with those that Ray
publishes.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from typing import Any

import harness
import numpy as np

options = harness.arguments()
ray: Any = importlib.import_module(options.module)
rows = harness.Rows()
row = rows.row

peers_of_cpus = max(1, (os.cpu_count() or 2) // 2)
BATCH = 1_000
SUBMITTERS = 4
QUEUED = 10_000


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def hold(file):
    """Occupies its worker until the file exists."""
    while not os.path.exists(file):
        time.sleep(0.005)


@ray.remote(num_cpus=0)
class Server:
    def small_value(self):
        return b"ok"

    def small_value_arg(self, x):
        return b"ok"

    def small_value_batch(self, n):
        ray.get([small_value.remote() for _ in range(n)])


@ray.remote
class AsyncServer:
    async def small_value(self):
        return b"ok"

    async def small_value_with_arg(self, x):
        return b"ok"


@ray.remote(num_cpus=0)
class Client:
    def __init__(self, servers):
        self.servers = servers

    def small_value_batch(self, n):
        results = []
        for server in self.servers:
            results.extend([server.small_value.remote() for _ in range(n)])
        ray.get(results)

    def small_value_batch_arg(self, n):
        x = ray.put(0)
        results = []
        for server in self.servers:
            results.extend([server.small_value_arg.remote(x) for _ in range(n)])
        ray.get(results)


@ray.remote
def put_small_values():
    for _ in range(100):
        ray.put(0)


@ray.remote
def put_arrays():
    for _ in range(10):
        ray.put(np.zeros(10 * 1024 * 1024, dtype=np.int64))


@ray.remote
def many_refs():
    return [ray.put(1) for _ in range(10_000)]


@ray.remote
def call_actors(actors, n):
    ray.get([actors[i % len(actors)].small_value.remote() for i in range(n)])


@ray.remote(num_cpus=0)
class Mirror:
    def same(self, value):
        return value


def end(*actors):
    for actor in actors:
        ray.kill(actor)


@row("memory of a queued task")
def _(scale):
    def close(gate):
        waiting = [hold.remote(gate) for _ in range(os.cpu_count() or 2)]
        ray.get(small_value.options(num_cpus=0).remote())
        return waiting

    def submit():
        return [small_value.remote() for _ in range(QUEUED)]

    yield None, harness.queued_bytes(QUEUED, close, submit, ray.get)


@row("single client get calls")
def _(scale):
    value = ray.put(0)
    yield lambda: ray.get(value), 1


@row("single client put calls")
def _(scale):
    yield lambda: ray.put(0), 1


@row("multi client put calls")
def _(scale):
    yield lambda: ray.get([put_small_values.remote() for _ in range(10)]), 1_000


@row("single client put gigabytes")
def _(scale):
    array = np.zeros(100 * 1024 * 1024, dtype=np.int64)
    yield lambda: ray.put(array), 8 * 0.1


@row("multi client put gigabytes")
def _(scale):
    yield lambda: ray.get([put_arrays.remote() for _ in range(10)]), 10 * 8 * 0.1


# What a put costs the first time that its memory is used, and ever after, beside a plain copy.
PUT_BYTES = 100_000_000


@row("put of 100 MB on memory used before")
def _(scale):
    array = np.ones(PUT_BYTES, dtype=np.uint8)
    yield lambda: ray.put(array), PUT_BYTES / 1e9


@row("put of 100 MB on memory never used")
def _(scale):
    array = np.ones(PUT_BYTES, dtype=np.uint8)
    time.sleep(8)  # polyray gives idle pages back to the system after 5 s
    refs, times = [], []
    for _ in range(8):
        start = time.perf_counter()
        refs.append(ray.put(array))
        times.append(time.perf_counter() - start)
    yield None, PUT_BYTES / 1e9 / statistics.median(times)


@row("memcpy of 100 MB")
def _(scale):
    array = np.ones(PUT_BYTES, dtype=np.uint8)
    target = np.zeros_like(array)
    yield lambda: np.copyto(target, array), PUT_BYTES / 1e9


@row("single client tasks and get batch")
def _(scale):
    yield lambda: ray.get([small_value.remote() for _ in range(BATCH)]), 1


@row("get object containing 10k refs")
def _(scale):
    container = many_refs.remote()
    yield lambda: ray.get(container), 1


@row("wait 1k refs")
def _(scale):
    def wait_for_all():
        not_ready = [small_value.remote() for _ in range(BATCH)]
        fetch_local = True
        for _ in range(BATCH):
            _ready, not_ready = ray.wait(not_ready, fetch_local=fetch_local)
            fetch_local = False

    yield wait_for_all, 1


@row("single client tasks sync")
def _(scale):
    yield lambda: ray.get(small_value.remote()), 1


@row("single client tasks async")
def _(scale):
    yield lambda: ray.get([small_value.remote() for _ in range(BATCH)]), BATCH


@row("multi client tasks async")
def _(scale):
    n = scale.large
    servers = [Server.remote() for _ in range(SUBMITTERS)]
    yield (
        lambda: ray.get([server.small_value_batch.remote(n) for server in servers]),
        n * SUBMITTERS,
    )
    end(*servers)


def one_to_one(server, pipelined, method="small_value", with_arg=False):
    call = getattr(server, method)
    if not pipelined:
        yield lambda: ray.get(call.remote()), 1
    elif with_arg:
        yield lambda: ray.get([call.remote(i) for i in range(BATCH)]), BATCH
    else:
        yield lambda: ray.get([call.remote() for _ in range(BATCH)]), BATCH
    end(server)


@row("1:1 actor calls sync")
def _(scale):
    yield from one_to_one(Server.remote(), pipelined=False)


@row("1:1 actor calls async")
def _(scale):
    yield from one_to_one(Server.remote(), pipelined=True)


@row("1:1 actor calls concurrent")
def _(scale):
    yield from one_to_one(Server.options(max_concurrency=16).remote(), pipelined=True)


@row("1:n actor calls async")
def _(scale):
    n = scale.middle
    servers = [Server.remote() for _ in range(peers_of_cpus)]
    client = Client.remote(servers)
    yield lambda: ray.get(client.small_value_batch.remote(n)), n * len(servers)
    end(client, *servers)


@row("n:n actor calls async")
def _(scale):
    n = scale.middle
    servers = [Server.remote() for _ in range(peers_of_cpus)]
    yield (
        lambda: ray.get([call_actors.remote(servers, n) for _ in range(SUBMITTERS)]),
        n * SUBMITTERS,
    )
    end(*servers)


@row("n:n actor calls with arg async")
def _(scale):
    n = 1_000
    servers = [Server.remote() for _ in range(peers_of_cpus)]
    clients = [Client.remote([server]) for server in servers]
    yield (
        lambda: ray.get([client.small_value_batch_arg.remote(n) for client in clients]),
        n * len(clients),
    )
    end(*clients, *servers)


@row("1:1 async-actor calls sync")
def _(scale):
    yield from one_to_one(AsyncServer.remote(), pipelined=False)


@row("1:1 async-actor calls async")
def _(scale):
    yield from one_to_one(AsyncServer.remote(), pipelined=True)


@row("1:1 async-actor calls with args async")
def _(scale):
    yield from one_to_one(
        AsyncServer.remote(),
        pipelined=True,
        method="small_value_with_arg",
        with_arg=True,
    )


def arrow_table():
    import pyarrow as pa

    return pa.table({"x": np.arange(14_000_000, dtype=np.float64)})


@row("112 MB Arrow table put, there and back")
def _(scale):
    table = arrow_table()
    mirror = Mirror.remote()
    yield lambda: ray.get(mirror.same.remote(ray.put(table))), 1
    end(mirror)


@row("112 MB Arrow table as argument, there and back")
def _(scale):
    table = arrow_table()
    mirror = Mirror.remote()
    yield lambda: ray.get(mirror.same.remote(table)), 1
    end(mirror)


if __name__ == "__main__":
    ray.init()
    harness.emit("ready", version=ray.__version__)
    harness.run(rows, options)
    ray.shutdown()
    harness.emit("end")
