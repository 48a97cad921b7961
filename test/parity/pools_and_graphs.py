# SPDX-License-Identifier: Apache-2.0
"""Actor pools, queues, results as they come, lazy and compiled graphs, what cannot be sent."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from importlib import import_module

from support import caught, ray, say

util = ray.util
queue = import_module(ray.__name__ + ".util.queue")
dag = import_module(ray.__name__ + ".dag")
debug = import_module(ray.__name__ + ".util.debug")
InputNode, MultiOutputNode = dag.InputNode, dag.MultiOutputNode
ray.init(num_cpus=4, log_to_driver=False)


@ray.remote(num_cpus=0)
class W:
    def __init__(self, start=0):
        self.n = start

    def double(self, v):
        return 2 * v

    def sleep(self, s):
        time.sleep(s)
        return s

    def fail(self, v):
        raise KeyError(v)

    def inc(self, by=1):
        self.n += by
        return self.n

    def get(self):
        return self.n

    @ray.method(num_returns=2)
    def two(self, v):
        return v, v + 1


def dbl(a, v):
    return a.double.remote(v)


# -- ActorPool
pool = util.ActorPool([W.remote(), W.remote()])
caught("pool map", lambda: list(pool.map(dbl, [1, 2, 3, 4])))
caught("pool unordered", lambda: sorted(pool.map_unordered(dbl, [1, 2, 3, 4])))
caught("pool none left", pool.get_next)
caught("pool none left unordered", pool.get_next_unordered)
caught("pool has next", pool.has_next)
caught("pool has free", pool.has_free)
for v in (1, 2, 3):
    pool.submit(dbl, v)
caught("pool free when busy", pool.has_free)
caught("pool pop when busy", pool.pop_idle)
caught("pool first", pool.get_next)
caught("pool any", lambda: pool.get_next_unordered() in (4, 6))
caught(
    "pool drains", lambda: [pool.get_next_unordered() for _ in range(10) if pool.has_next()] != []
)
pool.submit(lambda a, v: a.fail.remote(v), 7)
caught("pool error", pool.get_next, text=False)
caught("pool after error", pool.has_free)
caught("pool push twice", lambda: pool.push(pool._idle_actors[0]))
caught("pool push", lambda: pool.push(W.remote()))
caught("pool pops", lambda: [pool.pop_idle() is not None for _ in range(4)])
caught("pool without actors", lambda: (pool.submit(dbl, 1), pool.has_next()))
late = util.ActorPool([W.remote()])
late.submit(lambda a, v: a.sleep.remote(v), 1)
caught("pool late", lambda: late.get_next(timeout=0.05))
caught("pool late unordered", lambda: late.get_next_unordered(timeout=0.05))
caught("pool ignored", lambda: late.get_next(timeout=0.01, ignore_if_timedout=True), text=False)
caught(
    "pool two returns",
    lambda: list(util.ActorPool([W.remote()]).map(lambda a, v: a.two.remote(v), [1])),
)

# -- Queue
q = queue.Queue(maxsize=2)
caught("queue put", lambda: (q.put(1), q.put_nowait(2)))
caught("queue sizes", lambda: (len(q), q.size(), q.qsize(), q.empty(), q.full()))
caught("queue full", lambda: q.put_nowait(3))
caught("queue full late", lambda: q.put(3, timeout=0.05), text=False)
caught("queue negative", lambda: q.put(3, timeout=-1))
caught("queue get", lambda: (q.get(), q.get_nowait()))
caught("queue empty", q.get_nowait)
caught("queue empty late", lambda: q.get(timeout=0.05), text=False)
caught("queue batch too long", lambda: q.put_nowait_batch([1, 2, 3]), text=False)
caught("queue batch", lambda: (q.put_nowait_batch([1, 2]), q.get_nowait_batch(2)))
caught("queue batch short", lambda: q.get_nowait_batch(1), text=False)
caught("queue batch kinds", lambda: q.get_nowait_batch("x"))
caught("queue batch negative", lambda: q.get_nowait_batch(-1))
caught("queue batch not iterable", lambda: q.put_nowait_batch(5))


async def through():
    await q.put_async(5)
    return await q.get_async(timeout=5)


caught("queue async", lambda: asyncio.run(through()))
q.shutdown()
caught("queue shut", lambda: q.actor)

# -- as they come
ident = ray.remote(lambda x: x)
caught("as completed", lambda: sorted(util.as_completed([ident.remote(i) for i in range(5)])))
caught("as completed chunk", lambda: list(util.as_completed([], chunk_size=0)))
caught("as completed returns", lambda: list(util.as_completed([], num_returns=1)))
caught(
    "map unordered",
    lambda: sorted(util.map_unordered(ident, range(7), backpressure_size=2, chunk_size=1)),
)
caught("map unordered pressure", lambda: list(util.map_unordered(ident, [1], backpressure_size=0)))
caught(
    "map unordered refs",
    lambda: [type(r).__name__ for r in util.map_unordered(ident, [1], yield_obj_refs=True)],
)
caught(
    "log once",
    lambda: (util.log_once("k"), util.log_once("k"), debug.reset_log_once("k"), util.log_once("k")),
)


# -- graphs
@ray.remote
def add(a, b):
    return a + b


caught("dag functions", lambda: ray.get(add.bind(add.bind(1, 2), 3).execute()))
with InputNode() as inp:
    d = add.bind(inp[0], inp.x)
caught("dag input", lambda: ray.get(d.execute(1, x=2)))
with InputNode() as inp:
    whole = add.bind(inp, 10)
caught("dag whole input", lambda: ray.get(whole.execute(5)))
with InputNode() as inp:
    keyed = add.bind(inp["a"], inp["b"])
caught("dag keys", lambda: ray.get(keyed.execute({"a": 1, "b": 2})))
caught("dag input args", lambda: InputNode(1))
caught("dag multi", lambda: ray.get(MultiOutputNode([add.bind(1, 1), add.bind(2, 2)]).execute()))
caught("dag multi kind", lambda: MultiOutputNode(3))
counter = W.bind(10)
counter.inc.bind(1)
counter.inc.bind(2)
caught("dag actor", lambda: ray.get(counter.get.bind().execute()))
caught("dag bind again", lambda: counter.bind(), text=False)
caught("dag no method", lambda: counter.nothing, text=False)
caught("dag remote on node", lambda: counter.inc.remote(1))
handle = W.remote(0)
with InputNode() as inp:
    first, second = handle.two.bind(inp)
    pair = MultiOutputNode([second, first])
caught("dag two returns", lambda: ray.get(pair.execute(4)))
caught("dag kinds", lambda: [type(n).__name__ for n in (d, inp, inp[0], counter, first, pair)])
with InputNode() as inp:
    chain = handle.inc.bind(inp)
compiled = chain.experimental_compile()
caught("compiled", lambda: [ray.get(compiled.execute(i)) for i in (1, 2, 3)])
caught("compiled args", lambda: compiled.execute(1, 2))
ref = compiled.execute(0)
ray.get(ref)
caught("compiled twice", lambda: ray.get(ref))
caught("compiled again", chain.experimental_compile)
compiled.teardown()
caught("compile no input", lambda: handle.inc.bind(1).experimental_compile(), text=False)


# -- what cannot be sent
def closure():
    lock = threading.Lock()

    def uses():
        return lock

    out = io.StringIO()
    ok, failures = util.inspect_serializability(uses, name="uses", print_file=out)
    lines = [
        line.strip() for line in out.getvalue().splitlines() if "lock" not in line or "Ser" in line
    ]
    return ok, [(f.path, type(f.obj).__name__) for f in failures], len(lines) > 5


caught("inspect", closure)
caught("inspect fine", lambda: util.inspect_serializability([1], print_file=io.StringIO()))
say("done", True)
ray.shutdown()
