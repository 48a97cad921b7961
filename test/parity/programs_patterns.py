# SPDX-License-Identifier: Apache-2.0
"""Programs as users write them: pools, crawlers, streams, names, batches, values."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from support import caught, ray, say

util = ray.util

ray.init(num_cpus=4, resources={"alice": 2, "bob": 1}, log_to_driver=False)


@ray.remote
def work(i):
    time.sleep(0.01 * (i % 3))
    return i


# 11. Actor pool and queue
def pools():
    @ray.remote
    class Worker:
        def double(self, v):
            return 2 * v

    pool = util.ActorPool([Worker.remote() for _ in range(2)])
    ordered = list(pool.map(lambda a, v: a.double.remote(v), range(6)))
    return ordered, sorted(pool.map_unordered(lambda a, v: a.double.remote(v), range(6)))


caught("actor pool", pools)


def producer_consumer():
    from importlib import import_module

    queue = import_module(util.__name__ + ".queue")
    q = queue.Queue(maxsize=3)

    @ray.remote
    def produce(q, start):
        for i in range(5):
            q.put(start + i)
        return "done"

    @ray.remote
    def consume(q, count):
        return [q.get() for _ in range(count)]

    makers = [produce.remote(q, s) for s in (0, 100)]
    got = ray.get([consume.remote(q, 5) for _ in range(2)])
    return ray.get(makers), sorted(got[0] + got[1]), q.empty()


caught("producer consumer", producer_consumer)

# 12. A web crawler over a made-up web
WEB = {"a": ["b", "c"], "b": ["d"], "c": ["d", "e"], "d": [], "e": ["a"]}


@ray.remote
def fetch(page):
    return page, WEB.get(page, [])


def crawl():
    seen, running, found = {"a"}, [fetch.remote("a")], []
    while running:
        (done,), running = ray.wait(running)
        page, links = ray.get(done)
        found.append(page)
        for link in links:
            if link not in seen:
                seen.add(link)
                running.append(fetch.remote(link))
    return sorted(found)


caught("crawler", crawl)


# 13. Generators
@ray.remote
def numbers(n):
    for i in range(n):
        yield i * i


@ray.remote
class Stream:
    def chunks(self, n):
        for i in range(n):
            yield np.full(3, i)

    async def later(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i


caught("generator", lambda: [ray.get(r) for r in numbers.remote(5)])
caught("generator actor", lambda: [ray.get(r).tolist() for r in Stream.remote().chunks.remote(2)])
caught(
    "generator async",
    lambda: [ray.get(r) for r in Stream.options(max_concurrency=2).remote().later.remote(3)],
)


# 14. Named, detached, get_if_exists
def named():
    @ray.remote
    class Store:
        def __init__(self):
            self.data = {}

        def put(self, k, v):
            self.data[k] = v

        def get(self, k):
            return self.data.get(k)

    store = Store.options(name="store", get_if_exists=True).remote()
    again = Store.options(name="store", get_if_exists=True).remote()
    ray.get(store.put.remote("x", 1))

    @ray.remote
    def reader():
        return ray.get(ray.get_actor("store").get.remote("x"))

    found = ray.get(reader.remote()), ray.get(again.get.remote("x")), store == again
    try:
        Store.options(name="store").remote()
        taken = False
    except ValueError:
        taken = True
    try:
        ray.get_actor("nobody")
        missing = False
    except ValueError:
        missing = True
    return found, taken, missing


caught("named", named)


# 15. Batches as a model server does them
@ray.remote
class Batcher:
    def __init__(self, size):
        self.size = size
        self.waiting = []
        self.sizes = []

    async def predict(self, x):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((x, future))
        if len(self.waiting) >= self.size:
            batch, self.waiting = self.waiting, []
            self.sizes.append(len(batch))
            for value, waiter in batch:
                waiter.set_result(value * 10)
        return await future

    async def seen(self):
        return self.sizes


def batching():
    b = Batcher.remote(4)
    found = ray.get([b.predict.remote(i) for i in range(8)])
    return found, ray.get(b.seen.remote())


caught("batching", batching)


# 16. Matrix blocks
def matrix():
    @ray.remote
    def dot(a, b):
        return a @ b

    @ray.remote
    def plus(*parts):
        return sum(parts)

    n, half = 8, 4
    a, b = np.arange(n * n).reshape(n, n), np.eye(n, dtype=int) * 2
    refs = {
        (m, i, j): ray.put(x[i * half : (i + 1) * half, j * half : (j + 1) * half])
        for m, x in (("a", a), ("b", b))
        for i in range(2)
        for j in range(2)
    }
    out = [
        [
            plus.remote(*[dot.remote(refs["a", i, k], refs["b", k, j]) for k in range(2)])
            for j in range(2)
        ]
        for i in range(2)
    ]
    return bool((np.block([ray.get(row) for row in out]) == a @ b).all())


caught("matrix", matrix)


# 17. Values of many kinds
@dataclass
class Point:
    x: int
    y: int = 0
    tags: list = field(default_factory=list)


@ray.remote
def echo(v):
    return v


def values():
    given = [
        1,
        2.5,
        "é",
        b"x",
        None,
        True,
        (1, 2),
        {1: "a"},
        {1, 2},
        frozenset([3]),
        2**80,
        Point(1, 2, ["t"]),
        defaultdict(int, a=1),
        complex(1, 2),
        range(3),
        Counter("aab"),
    ]
    got = ray.get(echo.remote(given))
    return got == given, [type(v).__name__ for v in got]


caught("values", values)
caught("lambda", lambda: ray.get(echo.remote(lambda x: x + 1))(4))
caught("closure", lambda: ray.get([ray.remote(lambda x, k=k: x * k).remote(3) for k in range(3)]))
caught("nested refs", lambda: ray.get(ray.get(echo.remote([work.remote(7)]))[0]))
caught("put get many", lambda: sum(ray.get([ray.put(i) for i in range(200)])))
caught(
    "many args",
    lambda: ray.get(ray.remote(lambda *a: sum(a)).remote(*[ray.put(i) for i in range(100)])),
)
caught("many tasks", lambda: sum(ray.get([echo.remote(i) for i in range(1000)])))


# 18. Threaded actor, concurrency groups
def threaded():
    import threading

    @ray.remote(max_concurrency=4)
    class Threads:
        def __init__(self):
            self.barrier = threading.Barrier(4)

        def meet(self):
            self.barrier.wait(20)
            return True

    t = Threads.remote()
    return ray.get([t.meet.remote() for _ in range(4)])


caught("threaded", threaded)


def groups():
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Grouped:
        @ray.method(concurrency_group="io")
        async def io(self):
            await asyncio.sleep(0.01)
            return "io"

        @ray.method(concurrency_group="compute")
        async def compute(self):
            return "compute"

        async def other(self):
            return "default"

    g = Grouped.remote()
    return ray.get(
        [
            g.io.remote(),
            g.compute.remote(),
            g.other.remote(),
            g.other.options(concurrency_group="io").remote(),
        ]
    )


caught("groups", groups)


# 19. Inheritance, static and class methods, callable objects
class Base:
    kind = "base"

    def hello(self):
        return f"hello from {self.kind}"

    @staticmethod
    def static(x):
        return x + 1

    @classmethod
    def name(cls):
        return cls.__name__


@ray.remote
class Derived(Base):
    kind = "derived"

    def hello(self):
        return super().hello() + "!"

    def __call__(self, x):
        return x * 2


def inheritance():
    d = Derived.remote()
    return ray.get([d.hello.remote(), d.static.remote(1), d.name.remote(), d.__call__.remote(4)])


caught("inheritance", inheritance)


# 20. Handles in containers, actors that call each other
@ray.remote
class Player:
    def __init__(self, name):
        self.name = name

    def play(self, other, n):
        if n == 0:
            return [self.name]
        return [self.name, *ray.get(other["p"].answer.remote(n - 1))]

    def answer(self, n):
        return [self.name, n]


caught("handles", lambda: ray.get(Player.remote("a").play.remote({"p": Player.remote("b")}, 3)))


# 21. Hyperparameter search with early stop
def search():
    @ray.remote
    def trial(lr):
        return round((lr - 0.3) ** 2, 4), lr

    best, running = (9, 0), [trial.remote(i / 10) for i in range(8)]
    while running:
        (done,), running = ray.wait(running)
        best = min(best, ray.get(done))
    return best


caught("search", search)


# 22. Resources and state of the cluster
caught("cluster cpu", lambda: ray.cluster_resources()["CPU"])
caught("cluster alice", lambda: ray.cluster_resources()["alice"])
caught("nodes", lambda: [(n["Alive"], n["Resources"]["bob"]) for n in ray.nodes()])
caught("is initialized", ray.is_initialized)


# 23. Actor is ended by kill and by going out of scope; a call after it fails
def ended():
    @ray.remote
    class A:
        def x(self):
            return 1

    a = A.remote()
    ray.get(a.x.remote())
    ray.kill(a)
    try:
        ray.get(a.x.remote())
    except ray.exceptions.RayActorError:
        return True
    return False


caught("killed", ended)


# 24. exit_actor
def leaves():
    @ray.remote
    class L:
        def bye(self):
            ray.actor.exit_actor()

        def x(self):
            return 1

    a = L.remote()
    ray.get(a.x.remote())
    try:
        ray.get(a.bye.remote())
    except ray.exceptions.RayActorError:
        return "left"
    return "stayed"


caught("exit actor", leaves)


# 25. A lock by an actor, a barrier by refs, a bounded cache
def locked():
    @ray.remote
    class Lock:
        def __init__(self):
            self.lock = asyncio.Lock()

        async def acquire(self):
            await self.lock.acquire()

        async def release(self):
            self.lock.release()

    @ray.remote
    class Log:
        def __init__(self):
            self.lines = []

        def add(self, line):
            self.lines.append(line)

        def all(self):
            return self.lines

    lock, log = Lock.remote(), Log.remote()

    @ray.remote
    def critical(i):
        ray.get(lock.acquire.remote())
        ray.get(log.add.remote(("in", i)))
        ray.get(log.add.remote(("out", i)))
        ray.get(lock.release.remote())

    ray.get([critical.remote(i) for i in range(6)])
    lines = ray.get(log.all.remote())
    return all(
        lines[i][0] == "in" and lines[i + 1] == ("out", lines[i][1]) for i in range(0, 12, 2)
    )


caught("lock", locked)
ray.shutdown()
say("after", ray.is_initialized())
