# SPDX-License-Identifier: Apache-2.0
"""multiprocessing.Pool over actors."""

from __future__ import annotations

import os
import time
from importlib import import_module

from support import caught, ray, say

mp = import_module(ray.__name__ + ".util.multiprocessing")
Pool = mp.Pool
ray.init(num_cpus=2, log_to_driver=False)


def sq(x):
    return x * x


def bad(x):
    if x == 3:
        raise ValueError("three")
    return x


def init(v):
    os.environ["INITV"] = str(v)


def envv(_):
    return os.environ.get("INITV")


with Pool(2, initializer=init, initargs=(7,)) as p:
    caught("apply", lambda: p.apply(sq, (3,)))
    caught("map", lambda: p.map(sq, range(10)))
    caught("starmap", lambda: p.starmap(pow, [(2, 3), (3, 2)]))
    caught("mapbad", lambda: p.map(bad, range(5)))
    caught("applybad", lambda: p.apply(bad, (3,)))
    caught("init", lambda: p.map(envv, range(2)))
    got = []
    r = p.map_async(sq, [1, 2, 3], callback=got.append)
    r.wait(10)
    caught("cb", lambda: (r.ready(), r.successful(), sorted(got[0])))
    r = p.apply_async(bad, (3,), error_callback=got.append)
    r.wait(10)
    caught("ecb", lambda: (r.ready(), r.successful(), type(got[-1]).__name__, str(got[-1])))
    r = p.apply_async(time.sleep, (0.5,))
    caught("tmo", lambda: r.get(timeout=0.05))
    r.wait()
    caught("imap", lambda: list(p.imap(sq, range(7), chunksize=2)))
    caught("imapu", lambda: sorted(p.imap_unordered(sq, (i for i in range(7)))))
    caught("imapbad", lambda: [type(x).__name__ for x in p.imap(bad, range(5))])
    it = p.imap(time.sleep, [0.5])
    caught("imaptmo", lambda: it.next(timeout=0.05))
    caught("empty", lambda: p.map(sq, []))
    caught("kw", lambda: p.apply(dict, (), {"a": 1}))
    caught("join", p.join)
caught("closed", lambda: p.map(sq, [1]))
p = Pool(2)
r = p.map_async(sq, range(20))
p.close()
p.join()
caught("after", lambda: r.get())
caught("closed", lambda: p.apply_async(sq, (1,)))
caught("many", lambda: Pool(50))
caught("zero", lambda: Pool(0))
p = Pool(1, maxtasksperchild=1)
pids = {p.apply(os.getpid) for _ in range(3)}
say("replaced", len(pids))
p.terminate()
ray.shutdown()
