# SPDX-License-Identifier: Apache-2.0
"""Tasks: arguments, returns, waiting, nested refs, refusals."""

from __future__ import annotations

import asyncio
import threading
import time

from support import caught, ray, say

ray.init(num_cpus=4, log_to_driver=False)


@ray.remote
def add(a, b=10, *rest, k=0, **more):
    return a + b + sum(rest) + k + sum(more.values())


@ray.remote
def two(x):
    return x, x + 1


@ray.remote
def ident(x):
    return x


@ray.remote
def slow(t=30):
    time.sleep(t)
    return "slow"


@ray.remote
def pos(a, /, b, *, c):
    return a, b, c


caught("defaults", lambda: ray.get(add.remote(1)))
caught("all kinds", lambda: ray.get(add.remote(1, 2, 3, k=4, z=5)))
caught("ref args", lambda: ray.get(add.remote(ray.put(1), k=ray.put(5))))
caught("missing", lambda: add.remote())
caught("too many", lambda: ident.remote(1, 2))
caught("unknown kw", lambda: ident.remote(y=1))
caught("double", lambda: ident.remote(1, x=1))
caught("pos only by name", lambda: pos.remote(a=1, b=2, c=3))
caught("kw only missing", lambda: pos.remote(1, 2))
caught("pos ok", lambda: ray.get(pos.remote(1, b=2, c=3)))
caught("returns 2", lambda: ray.get(two.options(num_returns=2).remote(1)))
caught("returns type", lambda: type(two.options(num_returns=2).remote(1)).__name__)
caught("returns 0", lambda: two.options(num_returns=0).remote(1))
caught("returns 1 tuple", lambda: ray.get(two.remote(1)))
caught(
    "returns too few", lambda: ray.get(two.options(num_returns=3).remote(1)), lines=None, text=False
)
caught("returns not iterable", lambda: ray.get(ident.options(num_returns=2).remote(1)), text=False)
e = caught(
    "returns mismatch kinds", lambda: ray.get(two.options(num_returns=3).remote(1)), text=False
)
say("returns mismatch last line", str(e).strip().split("\n")[-1])
e = caught(
    "returns non iterable", lambda: ray.get(ident.options(num_returns=2).remote(1)), text=False
)
say("returns non iterable line", str(e).strip().split("\n")[-1])
caught(
    "generator with n",
    lambda: ray.get(ray.remote(num_returns=3)(lambda: (i for i in range(3))).remote()),
)


@ray.remote
def nested(box):
    ref = box[0]
    return type(ref).__name__, ray.get(ref)


caught("nested ref", lambda: ray.get(nested.remote([ray.put(7)])))
caught("ref in ref", lambda: ray.get(ray.get(ident.remote([ray.put(3)]))[0]))
caught("chain", lambda: ray.get(ident.remote(ident.remote(ident.remote(5)))))


@ray.remote
def fib(n):
    if n < 2:
        return n
    return sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))


caught("fib", lambda: ray.get(fib.remote(6)))
r = ray.put(1)
caught("get dup", lambda: ray.get([r, r, r]))
caught("get empty", lambda: ray.get([]))
caught("get tuple", lambda: ray.get((r,)))
caught("get int", lambda: ray.get(5))
caught("get list int", lambda: ray.get([r, 5]))
caught("get dict", lambda: ray.get({"a": r}))
caught("get set", lambda: ray.get({r}))
caught("get none", lambda: ray.get(None))
caught("get str", lambda: ray.get("abc"))
caught("get nested list", lambda: ray.get([[r]]), text=False)
caught("get generator expr", lambda: ray.get(x for x in [r]), text=False)
s = slow.remote()
caught("get timeout 0", lambda: ray.get(s, timeout=0), lines=1)
caught("get timeout", lambda: ray.get(s, timeout=0.1), lines=1)
caught("get timeout list", lambda: ray.get([r, s], timeout=0.05), lines=1)
caught("get timeout ready", lambda: ray.get(r, timeout=0))
caught("timeout is TimeoutError", lambda: issubclass(ray.exceptions.GetTimeoutError, TimeoutError))
caught("get timeout str", lambda: ray.get(r, timeout="a"), text=False)
caught("wait one", lambda: len(ray.wait([r])[0]))
caught("wait timeout 0", lambda: [len(x) for x in ray.wait([s, r], timeout=0)])
caught("wait 2 timeout", lambda: [len(x) for x in ray.wait([s, r], num_returns=2, timeout=0.1)])
caught("wait single", lambda: ray.wait(r))
caught("wait tuple", lambda: ray.wait((r,)))
caught("wait set", lambda: ray.wait({r}))
caught("wait ints", lambda: ray.wait([1]))
caught("wait empty", lambda: ray.wait([]))
caught("wait dup", lambda: ray.wait([r, r]))
caught("wait 0", lambda: ray.wait([r], num_returns=0))
caught("wait -1", lambda: ray.wait([r], num_returns=-1))
caught("wait too many", lambda: ray.wait([r], num_returns=2))
caught("wait neg timeout", lambda: ray.wait([r], timeout=-1))
caught("wait float", lambda: ray.wait([r], num_returns=1.5), text=False)
caught("wait fetch_local", lambda: len(ray.wait([r], fetch_local=False)[0]))
refs = [ident.remote(i) for i in range(10)]
ready, rest = ray.wait(refs, num_returns=10)
say("wait order", ready == refs, rest)
ray.get(refs)
ready, rest = ray.wait(refs, num_returns=3)
say("wait first n", [refs.index(x) for x in ready], [refs.index(x) for x in rest])
caught("get 5000", lambda: sum(ray.get([ray.put(i) for i in range(5000)])))
caught("put ref", lambda: ray.put(r))
caught("put none", lambda: ray.get(ray.put(None)))


def threads():
    out = []
    ts = [
        threading.Thread(target=lambda i=i: out.append(ray.get(ident.remote(i)))) for i in range(8)
    ]
    [t.start() for t in ts]
    [t.join() for t in ts]
    return sorted(out)


caught("threads", threads)


async def aio():
    a = await ident.remote(1)
    b = await asyncio.gather(*[ident.remote(i) for i in range(5)])
    c = await asyncio.wait_for(ident.remote(2), 20)
    done, pending = await asyncio.wait([asyncio.ensure_future(wrap(ident.remote(3)))])
    try:
        await bad.remote()
        d = None
    except ValueError as error:
        d = type(error).__name__
    f = ident.remote(4).future().result(20)
    g = await ident.remote(6).as_future()
    try:
        await asyncio.wait_for(slow.remote(), 0.05)
        h = None
    except asyncio.TimeoutError as error:
        h = type(error).__name__
    return a, b, c, [t.result() for t in done], d, f, g, h


async def wrap(ref):
    return await ref


@ray.remote
def bad():
    raise ValueError("no")


caught("asyncio", lambda: asyncio.run(aio()))
caught("future error", lambda: bad.remote().future().result(20), text=False)


class Static:
    @staticmethod
    @ray.remote
    def f(x):
        return x * 2


caught("static", lambda: ray.get(Static.f.remote(4)))
caught("lambda", lambda: ray.get(ray.remote(lambda x: x + 1).remote(1)))
caught("closure", lambda: ray.get(ident.remote(lambda: 3))())
caught(
    "name",
    lambda: ray.get(
        ray.remote(lambda: ray.get_runtime_context().get_task_name()).options(name="mine").remote()
    ),
)
caught("unpicklable arg", lambda: ident.remote(threading.Lock()), text=False)
caught(
    "unpicklable result", lambda: ray.get(ray.remote(lambda: threading.Lock()).remote()), text=False
)


@ray.remote
def takes(*refs):
    return len(refs)


caught("many args", lambda: ray.get(takes.remote(*[ray.put(i) for i in range(1000)])))
caught(
    "kw named self",
    lambda: ray.get(ray.remote(lambda self, args: self + args).remote(self=1, args=2)),
)
caught("_remote", lambda: ray.get(ident._remote(args=[1])))
caught("_remote options", lambda: ray.get(two._remote(args=[1], num_returns=2)))
caught(
    "default mutable", lambda: ray.get([ray.remote(lambda x=[]: x.append(1) or len(x)).remote()])
)
gf = ray.remote(lambda: 1)
caught("options chain", lambda: ray.get(gf.options(num_cpus=2).options(name="x").remote()))
caught("infeasible", lambda: ray.get(gf.options(num_cpus=100).remote(), timeout=0.2), text=False)
caught(
    "custom missing",
    lambda: ray.get(gf.options(resources={"nope": 1}).remote(), timeout=0.2),
    text=False,
)
caught("zero cpus", lambda: ray.get(gf.options(num_cpus=0).remote()))
ray.shutdown()
say("initialized", ray.is_initialized())
