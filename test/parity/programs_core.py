# SPDX-License-Identifier: Apache-2.0
"""Programs as users write them: trees of actors, parameter servers, pipelines, errors."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter

import numpy as np
from support import caught, ray

util = ray.util

ray.init(num_cpus=4, resources={"alice": 2, "bob": 1}, log_to_driver=False)


# 1. Monte Carlo with a progress actor
@ray.remote
class Progress:
    def __init__(self, total):
        self.total = total
        self.done = {}

    def report(self, task, done):
        self.done[task] = done

    def get(self):
        return sum(self.done.values()) / self.total


@ray.remote
def sample(count, number, progress):
    rng = random.Random(number)
    inside = 0
    for i in range(count):
        x, y = rng.random(), rng.random()
        inside += x * x + y * y <= 1
        if (i + 1) % 500 == 0:
            progress.report.remote(number, i + 1)
    ray.get(progress.report.remote(number, count))
    return inside


def pi():
    tasks, count = 8, 2000
    progress = Progress.remote(tasks * count)
    found = [sample.remote(count, i, progress) for i in range(tasks)]
    while ray.get(progress.get.remote()) < 1:
        time.sleep(0.02)
    return 4 * sum(ray.get(found)) / (tasks * count)


caught("pi", pi)


# 2. Tree of actors
@ray.remote(num_cpus=0)
class Node:
    def __init__(self, depth):
        self.children = [Node.remote(depth - 1) for _ in range(2)] if depth else []

    def count(self):
        return 1 + sum(ray.get([c.count.remote() for c in self.children]))


caught("tree", lambda: ray.get(Node.remote(2).count.remote()))


# 3. Parameter server
@ray.remote
class ParameterServer:
    def __init__(self, dim):
        self.w = np.zeros(dim)

    def apply(self, *gradients):
        self.w -= 0.1 * np.sum(gradients, axis=0)
        return self.w

    def weights(self):
        return self.w


@ray.remote
class Trainer:
    def __init__(self, seed):
        rng = np.random.RandomState(seed)
        self.x = rng.rand(50, 4)
        self.y = self.x @ np.array([1.0, -2.0, 3.0, 0.5])

    def gradient(self, w):
        return self.x.T @ (self.x @ w - self.y) / len(self.y)


def parameter_server():
    server = ParameterServer.remote(4)
    trainers = [Trainer.remote(i) for i in range(3)]
    w = server.weights.remote()
    for _ in range(40):
        w = server.apply.remote(*[t.gradient.remote(w) for t in trainers])
    return [round(float(v), 6) for v in ray.get(w)]


caught("parameter server", parameter_server)


def async_parameter_server():
    server = ParameterServer.remote(4)
    trainers = [Trainer.remote(i) for i in range(3)]
    running = {t.gradient.remote(server.weights.remote()): t for t in trainers}
    for _ in range(60):
        (done,), _ = ray.wait(list(running))
        trainer = running.pop(done)
        running[trainer.gradient.remote(server.apply.remote(done))] = trainer
    return ray.get(server.weights.remote()).shape


caught("async parameter server", async_parameter_server)


# 4. Map-reduce word count
TEXTS = ["the quick brown fox", "the lazy dog", "the fox and the dog", "quick quick"]


@ray.remote(num_returns=3)
def map_words(text):
    parts = [[], [], []]
    for word in text.split():
        parts[sum(map(ord, word)) % 3].append((word, 1))
    return parts


@ray.remote
def reduce_words(*parts):
    counts = Counter()
    for part in parts:
        for word, n in part:
            counts[word] += n
    return counts


def word_count():
    mapped = [map_words.remote(t) for t in TEXTS]
    reduced = [reduce_words.remote(*[m[i] for m in mapped]) for i in range(3)]
    return sorted(sum(ray.get(reduced), Counter()).items())


caught("word count", word_count)


# 5. Tree reduce and merge sort by nested tasks
@ray.remote
def add(a, b):
    return a + b


def tree_reduce():
    values = [ray.put(i) for i in range(16)]
    while len(values) > 1:
        values = values[2:] + [add.remote(values[0], values[1])]
    return ray.get(values[0])


caught("tree reduce", tree_reduce)


@ray.remote
def merge_sort(items):
    if len(items) <= 4:
        return sorted(items)
    half = len(items) // 2
    left, right = ray.get([merge_sort.remote(items[:half]), merge_sort.remote(items[half:])])
    out = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            out.append(left[i])
            i += 1
        else:
            out.append(right[j])
            j += 1
    return out + left[i:] + right[j:]


caught("merge sort", lambda: ray.get(merge_sort.remote([5, 3, 8, 1, 9, 2, 7, 4, 6, 0])))


@ray.remote
def fib(n):
    return n if n < 2 else sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))


caught("fib", lambda: ray.get(fib.remote(6)))


@ray.remote
def countdown(n, step=1, *, seen=()):
    return [*seen, n] if n <= 0 else ray.get(countdown.remote(n - step, seen=(*seen, n)))


caught("recursion with defaults", lambda: ray.get(countdown.remote(3)))


@ray.remote(num_cpus=0)
class Chain:
    def __init__(self, n, label="c"):
        self.rest = Chain.remote(n - 1) if n else None
        self.label = label

    def labels(self, depth=0):
        rest = ray.get(self.rest.labels.remote(depth=depth + 1)) if self.rest else []
        return [f"{self.label}{depth}", *rest]


caught("chain of actors", lambda: ray.get(Chain.remote(2, label="x").labels.remote()))


# 6. Pipeline with wait, results as they come
@ray.remote
def work(i):
    time.sleep(0.01 * (i % 3))
    return i


def pipeline():
    waiting = [work.remote(i) for i in range(10)]
    total = 0
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=min(2, len(waiting)))
        total += sum(ray.get(ready))
    return total


caught("pipeline", pipeline)


def limited():
    running, results = [], []
    for i in range(20):
        if len(running) > 3:
            ready, running = ray.wait(running, num_returns=1)
            results += ray.get(ready)
        running.append(work.remote(i))
    return sorted(results + ray.get(running))


caught("limited in flight", limited)


# 7. Async actor with many callers
@ray.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()
        self.waiting = 0

    async def wait(self):
        self.waiting += 1
        await self.event.wait()
        return self.waiting

    async def send(self):
        while self.waiting < 5:
            await asyncio.sleep(0.01)
        self.event.set()


def signal():
    s = Signal.remote()
    waits = [s.wait.remote() for _ in range(5)]
    none_yet = ray.wait(waits, timeout=0.05)[0]
    ray.get(s.send.remote())
    return len(none_yet), ray.get(waits)


caught("signal", signal)


@ray.remote
class Gather:
    async def all(self, refs):
        return await asyncio.gather(*refs)

    async def nested(self, actor):
        return await actor.get.remote()


caught("gather", lambda: ray.get(Gather.remote().all.remote([work.remote(i) for i in range(3)])))


async def driver_async():
    refs = [work.remote(i) for i in range(4)]
    done, pending = await asyncio.wait([asyncio.ensure_future(_wrap(r)) for r in refs])
    return sorted(d.result() for d in done), len(pending)


async def _wrap(ref):
    return await ref


caught("async driver", lambda: asyncio.run(driver_async()))


# 8. Custom resources, fractions
@ray.remote(resources={"alice": 1})
def on_alice():
    return ray.get_runtime_context().get_assigned_resources()["alice"]


@ray.remote(num_cpus=0.5, resources={"bob": 0.5})
class OnBob:
    def where(self):
        return sorted(ray.get_runtime_context().get_assigned_resources().items())


caught("alice", lambda: ray.get([on_alice.remote() for _ in range(3)]))
caught("bob", lambda: ray.get([OnBob.remote().where.remote() for _ in range(2)]))


# 9. Big arrays are shared and read-only
def arrays():
    big = np.arange(500_000, dtype=np.float64)
    ref = ray.put(big)

    @ray.remote
    def part(array, i):
        return float(array[i::4].sum()), array.flags.writeable

    found = ray.get([part.remote(ref, i) for i in range(4)])
    got = ray.get(ref)
    try:
        got[0] = 1
        wrote = True
    except ValueError as error:
        wrote = str(error)
    return sum(f[0] for f in found) == big.sum(), {f[1] for f in found}, wrote


caught("arrays", arrays)


# 10. Errors: caught, passed on, retried
class BadValue(Exception):
    def __init__(self, value, why):
        super().__init__(value, why)
        self.value = value


@ray.remote
def check(i):
    if i == 2:
        raise BadValue(i, "two")
    return i


@ray.remote
def use(value):
    return value + 1


def errors():
    out = []
    for i in range(4):
        try:
            out.append(ray.get(use.remote(check.remote(i))))
        except BadValue as error:
            out.append(
                (type(error).__name__, error.value, isinstance(error, ray.exceptions.RayTaskError))
            )
    return out


caught("errors", errors)


def flaky_retry():
    @ray.remote
    class Count:
        def __init__(self):
            self.n = 0

        def inc(self):
            self.n += 1
            return self.n

    count = Count.remote()

    @ray.remote(max_retries=5, retry_exceptions=[ValueError])
    def flaky(c):
        n = ray.get(c.inc.remote())
        if n < 3:
            raise ValueError(n)
        return n

    return ray.get(flaky.remote(count))


caught("retries", flaky_retry)


def dead_actor():
    @ray.remote
    class Mortal:
        def pid(self):
            return os.getpid()

        def die(self):
            os._exit(1)

    m = Mortal.remote()
    ray.get(m.pid.remote())
    try:
        ray.get(m.die.remote())
    except ray.exceptions.RayActorError as error:
        first = isinstance(error, ray.exceptions.ActorDiedError)
    try:
        ray.get(m.pid.remote())
    except ray.exceptions.ActorDiedError:
        return first
    return None


caught("dead actor", dead_actor)


def restarting():
    @ray.remote(max_restarts=2, max_task_retries=-1)
    class Phoenix:
        def __init__(self):
            self.n = 0

        def inc(self):
            self.n += 1
            return self.n

        def die_once(self, path):
            if not os.path.exists(path):
                open(path, "w").close()
                os._exit(1)
            return "alive"

    path = f"/tmp/parity-phoenix-{os.getpid()}-{time.time()}"
    p = Phoenix.remote()
    out = [ray.get(p.inc.remote()), ray.get(p.die_once.remote(path)), ray.get(p.inc.remote())]
    os.unlink(path)
    return out


caught("restarts", restarting)


def timeouts():
    @ray.remote
    def slow():
        time.sleep(30)

    ref = slow.remote()
    try:
        ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError as error:
        kind = isinstance(error, TimeoutError)
    ready, left = ray.wait([ref], timeout=0.05)
    ray.cancel(ref, force=True)
    try:
        ray.get(ref)
    except (ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError) as error:
        return kind, len(ready), len(left), True
    return None


caught("timeouts", timeouts)


ray.shutdown()
