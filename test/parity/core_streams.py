# SPDX-License-Identifier: Apache-2.0
"""Streaming generators: order, errors, waiting, ends, back-pressure."""

from __future__ import annotations

import asyncio
import time

from support import caught, ray, say

ray.init(num_cpus=4, log_to_driver=False)


@ray.remote
class Count:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1

    def get(self):
        return self.n


@ray.remote
def gen(n, fail_at=None, delay=0.0, count=None):
    for i in range(n):
        if i == fail_at:
            raise ValueError(f"at {i}")
        if count is not None:
            ray.get(count.add.remote())
        time.sleep(delay)
        yield i


say("type", type(gen.remote(1)).__name__)
caught("values", lambda: [ray.get(r) for r in gen.remote(5)])
caught("empty", lambda: [ray.get(r) for r in gen.remote(0)])
g = gen.remote(3)
caught("next", lambda: [ray.get(next(g)) for _ in range(3)])
caught("stop", lambda: next(g), text=False)
caught("stop again", lambda: next(g), text=False)
say("finished", g.is_finished())
g = gen.remote(5, 2)
out = []
for r in g:
    try:
        out.append(ray.get(r))
    except ValueError as error:
        out.append(type(error).__name__)
say("error inside", out)
caught("after error", lambda: next(g), text=False)
g = gen.remote(3, 0)
caught("error first", lambda: ray.get(next(g)), text=False)
g = gen.remote(2)
ray.get(g.completed())
caught("completed", lambda: ray.get(g.completed()))
say("ready", g.next_ready(), g.is_finished())
caught("rest", lambda: [ray.get(r) for r in g])
g = gen.remote(2, 1)
caught("completed of failed", lambda: ray.get(g.completed()), text=False)
g = gen.remote(3, None, 0.1)
ready, rest = ray.wait([g], timeout=20)
say("wait", ready == [g], rest == [])
say("wait type", type(ready[0]).__name__)
caught("wait then", lambda: ray.get(next(ready[0])))
g = gen.remote(1, None, 20)
ready, rest = ray.wait([g], timeout=0.1)
say("wait not ready", ready, len(rest))
g.close() if hasattr(g, "close") and False else None
ray.cancel(g)
slow, quick = gen.remote(1, None, 30), ray.put(1)
ready, rest = ray.wait([slow, quick], timeout=5)
say("wait mixed", ready == [quick], rest == [slow])
ray.cancel(slow)


@ray.remote
class A:
    def items(self, n):
        yield from range(n)

    @ray.method(num_returns="streaming")
    def streaming(self, n):
        for i in range(n):
            yield i * 2

    async def aitems(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    @ray.method(num_returns=2)
    def two(self):
        yield 1
        yield 2


@ray.remote
class S:
    def items(self, n):
        for i in range(n):
            yield i

    def plain(self):
        return 1


a, s = A.remote(), S.remote()
caught("method", lambda: [ray.get(r) for r in s.items.remote(4)])
caught("async actor", lambda: [ray.get(r) for r in a.aitems.remote(4)])
caught("streaming method", lambda: [ray.get(r) for r in a.streaming.remote(3)])
caught("plain streaming", lambda: s.plain.options(num_returns="streaming"), text=False)


async def aio():
    out = []
    async for r in gen.remote(4):
        out.append(await r)
    g = gen.remote(2)
    out.append(await (await g.__anext__()))
    out.append(await anext(g))
    try:
        await anext(g)
    except StopAsyncIteration:
        out.append("end")
    out[-2] = await out[-2]
    h = gen.remote(2)
    await h.completed()
    out.append("completed")
    return out


caught("async for", lambda: asyncio.run(aio()))
count = Count.remote()
g = gen.options(_generator_backpressure_num_objects=2).remote(20, None, 0, count)
ray.get(next(g))
time.sleep(1)
n = ray.get(count.get.remote())
say("backpressure", 2 <= n <= 4)
caught("all in the end", lambda: len([ray.get(r) for r in g]))
say("ran to the end", ray.get(count.get.remote()))


@ray.remote(num_returns="dynamic")
def dynamic(n):
    for i in range(n):
        yield i


d = dynamic.remote(3)
say("dynamic ref", type(d).__name__)
caught("dynamic", lambda: [ray.get(r) for r in ray.get(d)])
say("dynamic type", type(ray.get(d)).__name__)
caught("pass generator", lambda: ray.get(ray.remote(lambda x: 1).remote(gen.remote(1))), text=False)
caught("get generator", lambda: type(ray.get(gen.remote(1))).__name__)
g = gen.remote(1)
caught("send", lambda: g.send(1), text=False)
caught("throw", lambda: g.throw(ValueError()), text=False)
static = ray.remote(num_returns=3)(gen._function)
caught("static", lambda: ray.get(static.remote(3)))


@ray.remote
def big():
    for _ in range(5):
        yield b"x" * 1_000_000


caught("big items", lambda: sum(len(ray.get(r)) for r in big.remote()))
ray.shutdown()
