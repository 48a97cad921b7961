# SPDX-License-Identifier: Apache-2.0
"""Async actors, threaded actors, concurrency groups, pending calls, order of calls."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

from support import caught, check, died, kinds, ray, until

ray.init(num_cpus=2, log_to_driver=False)
X = ray.exceptions


def kind(what):
    try:
        return what()
    except Exception as error:
        return kinds(error)


@ray.remote(num_cpus=0)
def ident(x):
    return x


@ray.remote(num_cpus=0)
def slow(x):
    time.sleep(x)
    return x


@ray.remote(num_cpus=0)
class As:
    def __init__(self):
        self.n = 0
        self.peak = 0
        self.log = []

    async def inc(self):
        self.n += 1
        return self.n

    async def busy(self, s=0.2):
        self.n += 1
        self.peak = max(self.peak, self.n)
        await asyncio.sleep(s)
        self.n -= 1
        return "ok"

    async def get_peak(self):
        return self.peak

    def sync(self):
        return "sync"

    async def fail(self):
        raise ValueError("async")

    async def gen(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def gen_fails(self):
        yield 1
        raise ValueError("middle")

    def plain_gen(self, n):
        yield from range(n)

    @ray.method(num_returns=2)
    async def two(self):
        return 1, 2

    async def same_loop(self):
        return asyncio.get_running_loop() is asyncio.get_event_loop()

    async def call(self, handle):
        return await handle.inc.remote()

    async def call_itself(self):
        return await ray.get_runtime_context().current_actor.inc.remote()

    async def first(self, refs):
        return await refs[0]

    async def gather(self, refs):
        return await asyncio.gather(*refs)

    async def wait_for(self, refs):
        try:
            return await asyncio.wait_for(refs[0], timeout=0.1)
        except asyncio.TimeoutError:
            return "timeout"

    async def blocking(self, refs):
        return ray.get(refs[0]), len(ray.wait(refs)[0])

    async def submit(self, function):
        return await function.remote(3)

    async def stream(self, handle, n):
        return [await ref async for ref in handle.gen.remote(n)]

    async def context(self):
        before = ray.get_runtime_context().get_task_id()
        await asyncio.sleep(0.05)
        after = ray.get_runtime_context()
        return before == after.get_task_id(), after.get_task_name()

    async def forever(self):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise

    async def get_log(self):
        return self.log

    async def in_thread(self):
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 5)


# -- async methods
a = As.remote()
caught(
    "peak", lambda: (ray.get([a.busy.remote() for _ in range(20)])[0], ray.get(a.get_peak.remote()))
)
for limit in (1, 3):
    b = As.options(max_concurrency=limit).remote()
    ray.get([b.busy.remote(0.03) for _ in range(9)])
    caught(f"peak of {limit}", lambda b=b: ray.get(b.get_peak.remote()))
caught("sync method", lambda: ray.get(a.sync.remote()))
caught("fails", lambda: ray.get(a.fail.remote()), text=False)
caught("generator", lambda: [ray.get(ref) for ref in a.gen.remote(4)])
caught("plain generator", lambda: [ray.get(ref) for ref in a.plain_gen.remote(4)])
caught(
    "generator fails", lambda: [kind(lambda ref=ref: ray.get(ref)) for ref in a.gen_fails.remote()]
)
caught("two", lambda: ray.get(a.two.remote()))
caught("loop", lambda: ray.get(a.same_loop.remote()))
caught("calls another", lambda: ray.get(a.call.remote(As.remote())))
caught("calls itself", lambda: ray.get(As.remote().call_itself.remote()))
caught("awaits a ref", lambda: ray.get(a.first.remote([ident.remote(3)])))
caught("gathers", lambda: ray.get(a.gather.remote([ident.remote(i) for i in range(5)])))
caught("waits for", lambda: ray.get(a.wait_for.remote([slow.remote(1)])))
caught("blocks", lambda: ray.get(a.blocking.remote([ident.remote(4)])))
caught("submits", lambda: ray.get(a.submit.remote(ident)))
caught("reads a stream", lambda: ray.get(a.stream.remote(As.remote(), 4)))
caught("context", lambda: ray.get([a.context.remote() for _ in range(3)]))
caught("thread pool", lambda: ray.get(a.in_thread.remote()))


@check("cancel")
def _():
    ref = a.forever.remote()
    time.sleep(0.5)
    ray.cancel(ref)
    return "TaskCancelledError" in kind(lambda: ray.get(ref)), ray.get(a.get_log.remote())


@check("made on its loop")
def _():
    @ray.remote(num_cpus=0)
    class Made:
        async def __init__(self):
            self.n = 0
            self.thread = threading.get_ident()
            self.event = asyncio.Event()
            asyncio.get_running_loop().create_task(self.later())

        async def later(self):
            self.n += 1
            self.event.set()

        async def see(self):
            await self.event.wait()
            return self.n, self.thread == threading.get_ident()

        def see_sync(self):
            return self.thread == threading.get_ident()

    made = Made.remote()
    return ray.get(made.see.remote()), ray.get(made.see_sync.remote())


@check("inherited")
def _():
    class Base:
        async def f(self):
            return await self.g()

        async def g(self):
            return "base"

        @staticmethod
        async def s(x):
            return x

        @classmethod
        async def c(cls, x):
            return cls.__name__, x

    @ray.remote(num_cpus=0)
    class Derived(Base):
        async def g(self):
            return "derived > " + await super().g()

    d = Derived.remote()
    return ray.get([d.f.remote(), d.s.remote(1), d.c.remote(2)])


@check("context variables")
def _():
    @ray.remote(num_cpus=0)
    class Variables:
        def __init__(self):
            self.v = contextvars.ContextVar("v", default=0)

        async def set(self, x):
            self.v.set(x)
            await asyncio.sleep(0.05)
            return self.v.get()

    variables = Variables.remote()
    return ray.get([variables.set.remote(i) for i in range(4)])


# -- awaiting in the driver
async def driver():
    handle = As.remote()
    out = [await handle.inc.remote(), await asyncio.gather(*handle.two.remote())]
    out.append([await ref async for ref in handle.gen.remote(3)])
    results = await asyncio.gather(handle.fail.remote(), ident.remote(1), return_exceptions=True)
    out.append([kinds(r) if isinstance(r, Exception) else r for r in results])
    ray.kill(handle)
    try:
        await handle.inc.remote()
    except X.RayActorError as error:
        out.append(type(error).__name__)
    return out


caught("awaits in the driver", lambda: asyncio.run(driver()))


# -- leaving
@check("coroutines leave")
def _():
    @ray.remote(num_cpus=0)
    class Leaves:
        async def leave(self):
            ray.actor.exit_actor()

        async def leave_below(self):
            await asyncio.create_task(self.leave())

        async def stay(self):
            await asyncio.sleep(1)
            return "answered"

    out = []
    for name in ("leave", "leave_below"):
        leaves = Leaves.remote()
        staying = leaves.stay.remote()
        out.append(kind(lambda n=name, a=leaves: ray.get(getattr(a, n).remote())))
        out.append(ray.get(staying))
        out.append(kind(lambda a=leaves: ray.get(a.stay.remote())))
    return out


@check("threads leave")
def _():
    @ray.remote(num_cpus=0, max_concurrency=3)
    class Leaves:
        def leave(self):
            ray.actor.exit_actor()

        def stay(self):
            time.sleep(1)
            return "answered"

    leaves = Leaves.remote()
    staying = leaves.stay.remote()
    time.sleep(0.3)
    out = died(lambda: ray.get(leaves.leave.remote()))[2:]
    return out, ray.get(staying), kind(lambda: ray.get(leaves.stay.remote()))


# -- threads and order
@check("threads")
def _():
    @ray.remote(num_cpus=0, max_concurrency=4)
    class Threads:
        def __init__(self):
            self.main = threading.current_thread() is threading.main_thread()
            self.barrier = threading.Barrier(4)

        def meet(self):
            self.barrier.wait(20)
            return self.main, threading.current_thread() is threading.main_thread()

        def name(self):
            before = ray.get_runtime_context().get_task_id()
            time.sleep(0.05)
            context = ray.get_runtime_context()
            return context.get_task_name(), before == context.get_task_id()

    threads = Threads.remote()
    met = ray.get([threads.meet.remote() for _ in range(4)])
    return met, ray.get([threads.name.remote() for _ in range(4)])


class Adds:
    def __init__(self):
        self.items = []

    def add(self, item):
        self.items.append(item)
        return list(self.items)

    async def add_async(self, item):
        return self.add(item)


class AddsSync:
    __init__ = Adds.__init__
    add = Adds.add


def order(cls, method="add", **options):
    actor = ray.remote(num_cpus=0, **options)(cls).remote()
    ray.get(getattr(actor, method).remote("zero"))
    first = getattr(actor, method).remote(slow.remote(1.5))
    return ray.get(getattr(actor, method).remote("second")), ray.get(first)


caught("order", lambda: order(AddsSync))
caught("order of threads", lambda: order(AddsSync, max_concurrency=2))
caught("order not asked for", lambda: order(AddsSync, allow_out_of_order_execution=True))
caught("order of coroutines", lambda: order(Adds, "add_async"))


# -- concurrency groups
@ray.remote(num_cpus=0, concurrency_groups={"io": 2, "compute": 4})
class Groups:
    def __init__(self):
        self.running = {}
        self.peaks = {}

    async def _in(self, name, s):
        self.running[name] = self.running.get(name, 0) + 1
        self.peaks[name] = max(self.peaks.get(name, 0), self.running[name])
        await asyncio.sleep(s)
        self.running[name] -= 1
        return threading.get_ident()

    @ray.method(concurrency_group="io")
    async def io1(self, s=0.1):
        return await self._in("io", s)

    @ray.method(concurrency_group="io")
    async def io2(self, s=0.1):
        return await self._in("io", s)

    @ray.method(concurrency_group="compute")
    async def compute(self, s=0.1):
        return await self._in("compute", s)

    async def other(self, s=0.1):
        return await self._in("other", s)

    @ray.method(concurrency_group="io")
    async def stream(self, n):
        for i in range(n):
            yield i

    async def get_peaks(self):
        return sorted(self.peaks.items())


g = Groups.remote()


@check("groups")
def _():
    io = {*ray.get([g.io1.remote() for _ in range(6)] + [g.io2.remote() for _ in range(4)])}
    compute = {*ray.get([g.compute.remote() for _ in range(12)])}
    other = {*ray.get([g.other.remote() for _ in range(7)])}
    threads = len(io), len(compute), len(other), len(io | compute | other)
    return threads, ray.get(g.get_peaks.remote())


caught(
    "group of a call",
    lambda: ray.get(g.other.options(concurrency_group="io").remote()) == ray.get(g.io1.remote()),
)
caught("stream of a group", lambda: [ray.get(ref) for ref in g.stream.remote(3)])


class GroupsOfThreads:
    def __init__(self):
        self.lock = threading.Lock()
        self.running = {}
        self.peaks = {}

    def _in(self, name, s):
        with self.lock:
            self.running[name] = self.running.get(name, 0) + 1
            self.peaks[name] = max(self.peaks.get(name, 0), self.running[name])
        time.sleep(s)
        with self.lock:
            self.running[name] -= 1

    @ray.method(concurrency_group="io")
    def io(self, s=0.1):
        self._in("io", s)

    @ray.method(concurrency_group="compute")
    def compute(self, s=0.1):
        self._in("compute", s)

    def other(self, s=0.1):
        self._in("other", s)

    def get_peaks(self):
        return sorted(self.peaks.items())


OfThreads = ray.remote(num_cpus=0, concurrency_groups={"io": 2, "compute": 3})(GroupsOfThreads)


@check("groups of threads")
def _():
    groups = OfThreads.remote()
    calls = [groups.io.remote() for _ in range(6)] + [groups.compute.remote() for _ in range(9)]
    ray.get(calls + [groups.other.remote(0.02) for _ in range(5)])
    return ray.get(groups.get_peaks.remote())


@check("groups of threads by call")
def _():
    groups = OfThreads.remote()
    ray.get([groups.other.options(concurrency_group="io").remote(0.1) for _ in range(6)])
    return ray.get(groups.get_peaks.remote())


@check("other threads")
def _():
    groups = OfThreads.options(max_concurrency=3).remote()
    ray.get([groups.other.remote(0.1) for _ in range(9)])
    return ray.get(groups.get_peaks.remote())


@check("a blocked group")
def _():
    groups = OfThreads.remote()
    blocked = groups.other.remote(3)
    ray.get(groups.io.remote(0.01))
    return len(ray.wait([blocked], timeout=0)[0])


def group_that_is_not_there(**options):
    class Wrong:
        @ray.method(concurrency_group="none")
        def f(self):
            return 1

    return ray.get(ray.remote(num_cpus=0, **options)(Wrong).remote().f.remote())


caught("no such group", lambda: group_that_is_not_there(concurrency_groups={"io": 1}), text=False)
caught("no groups", group_that_is_not_there, text=False)


# -- pending calls
@ray.remote(num_cpus=0, max_pending_calls=3)
class Few:
    def sleep(self, s=0.5):
        time.sleep(s)
        return 1


def refused(handle):
    sent, errors = [], []
    for _ in range(6):
        try:
            sent.append(handle.sleep.remote())
        except X.PendingCallsLimitExceeded as error:
            errors.append(str(error))
    return len(sent), len(errors), sum(ray.get(sent)), errors[0]


@ray.remote(num_cpus=0)
def refused_there(handle):
    return refused(handle)


few = Few.options(name="few").remote()
ray.get(few.sleep.remote(0))
time.sleep(0.5)
caught("pending", lambda: refused(few))
caught("pending by name", lambda: refused(ray.get_actor("few")))
caught("pending in a task", lambda: ray.get(refused_there.remote(few)))
caught("pending goes on", lambda: until(lambda: kind(lambda: ray.get(few.sleep.remote(0))) == 1))
ray.shutdown()
