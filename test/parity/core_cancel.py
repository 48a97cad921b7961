# SPDX-License-Identifier: Apache-2.0
"""Cancelling tasks, methods, generators and what they started."""

from __future__ import annotations

import asyncio
import time

from support import caught, ray, say

ray.init(num_cpus=2, log_to_driver=False)
X = ray.exceptions


@ray.remote
class Notes:
    def __init__(self):
        self.lines = []

    def add(self, line):
        self.lines.append(line)

    def all(self):
        return self.lines


notes = Notes.options(num_cpus=0).remote()


def until(line, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if line in ray.get(notes.all.remote()):
            return True
        time.sleep(0.05)
    return False


@ray.remote
def loop(name):
    try:  # the note too: who reads it may cancel before the call that told it has returned
        ray.get(notes.add.remote(f"{name} started"))
        for _ in range(600):
            time.sleep(0.05)
    except KeyboardInterrupt:
        ray.get(notes.add.remote(f"{name} interrupted"))
        raise
    return "done"


@ray.remote
def parent(name):
    ref = loop.remote(f"{name} child")
    ray.get(notes.add.remote(f"{name} started"))
    return ray.get(ref)


@ray.remote
def quick():
    return 1


r = loop.remote("a")
say("started", until("a started"))
ray.cancel(r)
e = caught("running", lambda: ray.get(r, timeout=30), text=False)
say(
    "running text",
    str(e).split("\n")[-1]
    if not isinstance(e, X.TaskCancelledError) or isinstance(e, X.RayTaskError)
    else str(e),
)
say("interrupted", until("a interrupted"))
caught("cancel again", lambda: ray.cancel(r))
caught("cpu is back", lambda: ray.get([quick.remote() for _ in range(4)], timeout=30))
r = quick.remote()
ray.get(r)
caught("cancel done", lambda: ray.cancel(r))
caught("done stays", lambda: ray.get(r))
blockers = [loop.remote(f"b{i}") for i in range(2)]
say("blockers", until("b0 started"), until("b1 started"))
queued = quick.remote()
dependent = ray.remote(lambda x: x).remote(queued)
ray.cancel(queued)
e = caught("queued", lambda: ray.get(queued, timeout=20), text=False)
say("queued text", str(e))
caught("dependent of cancelled", lambda: ray.get(dependent, timeout=20), text=False)
[ray.cancel(b) for b in blockers]
for b in blockers:
    caught("blocker", lambda: ray.get(b, timeout=30), text=False)
p = parent.remote("p")
say("parent", until("p started"), until("p child started"))
ray.cancel(p)
caught("parent cancelled", lambda: ray.get(p, timeout=30), text=False)
say("child cancelled too", until("p child interrupted"))
p = parent.remote("q")
say("parent q", until("q started"), until("q child started"))
ray.cancel(p, recursive=False)
caught("parent only", lambda: ray.get(p, timeout=30), text=False)
say("child lives", not until("q child interrupted", 0.5))
caught("cpus", lambda: ray.get(quick.remote(), timeout=30))
f = loop.remote("f")
say("force started", until("f started"))
ray.cancel(f, force=True)
caught("force", lambda: ray.get(f, timeout=30), text=False)
say("force not interrupted", not until("f interrupted", 0.3))


@ray.remote
class A:
    def __init__(self):
        self.n = 0

    def work(self, name):
        ray.get(notes.add.remote(f"{name} started"))
        for _ in range(100):
            if ray.get_runtime_context().is_canceled():
                ray.get(notes.add.remote(f"{name} saw it"))
                return "stopped"
            time.sleep(0.05)
        return "done"

    def quick(self):
        self.n += 1
        return self.n


@ray.remote
class B:
    async def work(self, name):
        await notes.add.remote(f"{name} started")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await notes.add.remote(f"{name} interrupted")
            raise
        return "done"

    async def swallow(self):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "swallowed"

    async def nested(self):
        return await loop.remote("nested")

    async def canceled(self):
        return ray.get_runtime_context().is_canceled()

    async def quick(self):
        return 1


a = A.remote()
r = a.work.remote("m")
q = a.quick.remote()
say("method started", until("m started"))
caught("force on method", lambda: ray.cancel(r, force=True))
ray.cancel(r)
caught("method", lambda: ray.get(r, timeout=30), text=False)
say("method saw it", until("m saw it"))
caught("next method", lambda: ray.get(q, timeout=30))
r = a.work.remote("n")
q = a.quick.remote()
say("n started", until("n started"))
ray.cancel(q)
caught("queued method", lambda: ray.get(q, timeout=30), text=False)
ray.cancel(r)
caught("after", lambda: ray.get(a.quick.remote(), timeout=30))
b = B.remote()
r = b.work.remote("c")
say("coroutine started", until("c started"))
ray.cancel(r)
e = caught("coroutine", lambda: ray.get(r, timeout=30), text=False)
say("coroutine interrupted", until("c interrupted"))
r = b.nested.remote()
say("nested started", until("nested started"))
ray.cancel(r)
caught("nested coroutine", lambda: ray.get(r, timeout=30), text=False)
say("nested child", until("nested interrupted"))
caught("is_canceled async", lambda: ray.get(b.canceled.remote()), text=False)
caught("coroutine after", lambda: ray.get(b.quick.remote(), timeout=30))


@ray.remote
def gen():
    ray.get(notes.add.remote("gen started"))
    try:
        for i in range(200):
            yield i
            time.sleep(0.05)
    except KeyboardInterrupt:
        ray.get(notes.add.remote("gen interrupted"))
        raise


g = gen.remote()
caught("gen first", lambda: ray.get(next(g)))
ray.cancel(g)
last = None


def drain():
    n = 0
    for ref in g:
        n += 1
        ray.get(ref)
    return n


caught("gen cancelled", drain, text=False)
say("gen interrupted", until("gen interrupted"))


@ray.remote
def handler():
    try:
        time.sleep(20)
    except KeyboardInterrupt:
        return "handled"


h = handler.remote()
time.sleep(0.7)
ray.cancel(h)
caught("handled", lambda: ray.get(h, timeout=30), text=False)
say("context", ray.get_runtime_context().get_job_id() is not None)
caught("still works", lambda: ray.get([quick.remote() for _ in range(10)], timeout=30))
ray.shutdown()
