# SPDX-License-Identifier: Apache-2.0
"""How actors end and come back: kill, exit, crashes, restarts, retries, owners, names."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from support import caught, check, died, kinds, ray, until

ray.init(num_cpus=2, log_to_driver=False, namespace="ns1")
X = ray.exceptions
FOLDER = Path(tempfile.mkdtemp())


def note(name, text="x"):
    with (FOLDER / name).open("a") as file:
        file.write(text + "\n")


def notes(name):
    path = FOLDER / name
    return path.read_text().split() if path.exists() else []


def gone(pid):
    return until(lambda: not os.path.exists(f"/proc/{pid}"))


def kind(what):
    try:
        return what()
    except Exception as error:
        return kinds(error).replace("ActorHandleNotFoundError,", "")


@ray.remote(num_cpus=0)
class A:
    def __init__(self, tag="a"):
        self.tag = tag
        self.n = 0
        note(tag + "_init")

    def pid(self):
        return os.getpid()

    def inc(self):
        self.n += 1
        return self.n

    def die(self, code=1):
        os._exit(code)

    def leave(self, code=None):
        sys.exit(code)

    def sleep(self, s):
        time.sleep(s)
        return s

    def exit(self):
        ray.actor.exit_actor()

    def exit_caught(self):
        try:
            ray.actor.exit_actor()
        except Exception:
            return "caught"

    def exit_finally(self):
        try:
            ray.actor.exit_actor()
        finally:
            note(self.tag + "_finally")

    def signal(self, number):
        os.kill(os.getpid(), number)
        time.sleep(20)

    def again(self):
        return ray.get_runtime_context().was_current_actor_reconstructed


def made(*args, **options):
    actor = A.options(**options).remote(*args)
    ray.get(actor.pid.remote())
    return actor


# -- how it ended
a = made(name="killed")
caught("kill", lambda: ray.kill(a))
caught("killed", lambda: died(lambda: ray.get(a.pid.remote())))
caught("kill again", lambda: ray.kill(a))
caught("killed name", lambda: kind(lambda: ray.get_actor("killed")))
for how, args in {
    "die": ("die",),
    "die 0": ("die", 0),
    "leave": ("leave",),
    "leave 0": ("leave", 0),
    "leave 3": ("leave", 3),
    "exit": ("exit",),
    "exit caught": ("exit_caught",),
    "segv": ("signal", signal.SIGSEGV),
    "kill9": ("signal", signal.SIGKILL),
    "term": ("signal", signal.SIGTERM),
}.items():
    a = made()
    call = getattr(a, args[0]).remote(*args[1:])
    caught(how, lambda call=call: died(lambda: ray.get(call)))
    caught(f"{how} after", lambda a=a: died(lambda: ray.get(a.pid.remote())))
a = made(name="named", namespace="other")
caught("die named", lambda: died(lambda: ray.get(a.die.remote())))
a = made("fin")
caught(
    "exit finally",
    lambda: (died(lambda: ray.get(a.exit_finally.remote()))[0], notes("fin_finally")),
)


@check("attributes")
def _():
    a = made()
    try:
        ray.get(a.die.remote())
    except X.RayActorError as error:
        return (
            error.actor_id == a._actor_id.hex(),
            error.preempted,
            error.actor_init_failed,
            isinstance(error, X.RayError),
        )


@check("pending killed")
def _():
    a = made()
    refs = [a.sleep.remote(30)] + [a.inc.remote() for _ in range(3)]
    time.sleep(0.3)
    ray.kill(a)
    return [kind(lambda ref=ref: ray.get(ref)) for ref in refs]


# -- restarts
@check("kill restarts")
def _():
    a = made("kr", max_restarts=1)
    first = ray.get(a.pid.remote())
    ray.kill(a, no_restart=False)
    gone(first)
    second = []

    def back():
        try:
            second.append(ray.get(a.pid.remote()))
        except X.RayActorError:
            return False
        return True

    return until(back), first != second[-1], len(notes("kr_init")), ray.get(a.again.remote())


@check("kill without restarts")
def _():
    a = made()
    pid = ray.get(a.pid.remote())
    ray.kill(a, no_restart=False)
    return gone(pid), kind(lambda: ray.get(a.pid.remote()))


@check("kill for good")
def _():
    a = made(max_restarts=-1)
    pid = ray.get(a.pid.remote())
    ray.kill(a)
    return gone(pid), kind(lambda: ray.get(a.pid.remote()))


@check("restarts used up")
def _():
    a = made("used", max_restarts=2, max_task_retries=-1)
    out = []
    for _ in range(3):
        pid = ray.get(a.pid.remote())
        os.kill(pid, 9)
        gone(pid)
        out.append(kind(lambda: ray.get(a.inc.remote())))
    return out, len(notes("used_init"))


@check("call while it dies")
def _():
    a = made(max_restarts=1)
    return kind(lambda: ray.get(a.die.remote()))


@ray.remote(num_cpus=0, max_restarts=-1)
class Retried:
    def __init__(self):
        note("retried_init")

    def die(self, name, times):
        note(name)
        if len(notes(name)) <= times:
            os._exit(1)
        return "ok"

    @ray.method(max_task_retries=2)
    def die_twice(self, name, times):
        return self.die(name, times)


def retried(method, name, times, **options):
    actor = Retried.options(**options).remote()
    return lambda: (
        kind(lambda: ray.get(getattr(actor, method).remote(name, times))),
        len(notes(name)),
    )


caught("retries end", retried("die", "r1", 9, max_task_retries=2))
caught("retries suffice", retried("die", "r2", 2, max_task_retries=2))
caught("retries for ever", retried("die", "r3", 4, max_task_retries=-1))
caught("no retries", retried("die", "r4", 1))
caught("retries of a method", retried("die_twice", "r5", 2))
caught("retries of a method end", retried("die_twice", "r6", 9))


@ray.remote(num_cpus=0, max_task_retries=3)
class Raises:
    def __init__(self):
        self.counts = {}

    def _next(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    @ray.method(retry_exceptions=True)
    def every(self):
        n = self._next("every")
        if n < 3:
            raise ValueError(n)
        return n

    @ray.method(retry_exceptions=[KeyError])
    def others(self):
        raise ValueError(self._next("others"))

    @ray.method(retry_exceptions=[KeyError, OSError], max_task_retries=1)
    def once(self):
        raise FileNotFoundError(self._next("once"))

    def plain(self):
        raise ValueError(self._next("plain"))

    @ray.method(retry_exceptions=True)
    def stream(self):
        n = self._next("stream")
        yield 1
        if n < 3:
            raise ValueError(n)
        yield 2

    @ray.method(retry_exceptions=True)
    def leave(self):
        note("leaves")
        ray.actor.exit_actor()

    def tries(self):
        return sorted(self.counts.items())


@ray.remote(num_cpus=0, max_task_retries=3)
class RaisesAsync:
    def __init__(self):
        self.n = 0

    @ray.method(retry_exceptions=[ValueError])
    async def every(self):
        self.n += 1
        if self.n < 3:
            raise ValueError(self.n)
        return self.n

    async def tries(self):
        return self.n


r = Raises.remote()
caught("retried", lambda: ray.get(r.every.remote()))
caught("not of that class", lambda: kind(lambda: ray.get(r.others.remote())))
caught("retried once", lambda: kind(lambda: ray.get(r.once.remote())))
caught("not retried", lambda: kind(lambda: ray.get(r.plain.remote())))
caught("stream retried", lambda: [ray.get(ref) for ref in r.stream.remote()])
again = r.plain.options(retry_exceptions=True, max_task_retries=2)
caught("retried by call", lambda: kind(lambda: ray.get(again.remote())))
caught("tries", lambda: ray.get(r.tries.remote()))
threads = Raises.options(max_concurrency=3).remote()
caught("threads retried", lambda: ray.get(threads.every.remote()))
coroutines = RaisesAsync.remote()
caught("coroutine retried", lambda: ray.get(coroutines.every.remote()))
caught("coroutine tries", lambda: ray.get(coroutines.tries.remote()))
leaving = Raises.options(max_restarts=3).remote()
caught(
    "exit is not retried", lambda: (kind(lambda: ray.get(leaving.leave.remote())), notes("leaves"))
)


# -- constructors
def broken(name, body, call="f", **options):
    class Broken:
        def __init__(self):
            note(name)
            body(len(notes(name)))

        def f(self):
            return 1

        def die(self):
            os._exit(1)

    actor = ray.remote(num_cpus=0, **options)(Broken).remote()
    return kind(lambda: ray.get(getattr(actor, call).remote())), len(notes(name))


def raises(_):
    raise ValueError("bad init")


def dies_twice(n):
    if n < 3:
        os._exit(1)


def raises_second(n):
    if n > 1:
        raise ValueError("second")


caught("init raises", lambda: broken("i1", raises))
caught("init raises with restarts", lambda: broken("i2", raises, max_restarts=3))
caught("init dies", lambda: broken("i3", lambda n: os._exit(1)))
caught("init dies with restarts", lambda: broken("i4", dies_twice, max_restarts=2))
caught("init exits", lambda: broken("i5", lambda n: ray.actor.exit_actor(), max_restarts=2))
caught("init leaves", lambda: broken("i6", lambda n: sys.exit(3)))
caught(
    "init raises at restart",
    lambda: broken("i7", raises_second, "die", max_restarts=2, max_task_retries=2),
)


# -- graceful ends
@ray.remote(num_cpus=0)
class Ends:
    def __init__(self, tag):
        self.tag = tag
        atexit.register(lambda: note(tag, "atexit"))

    def pid(self):
        return os.getpid()

    def exit(self):
        ray.actor.exit_actor()

    def __ray_shutdown__(self):
        note(self.tag, "shutdown")

    def __del__(self):
        note(self.tag, "del")


for end in ("terminate", "exit", "kill", "scope"):
    actor = Ends.remote(end)
    pid = ray.get(actor.pid.remote())
    if end == "terminate":
        actor.__ray_terminate__.remote()
    elif end == "exit":
        actor.exit.remote()
    elif end == "kill":
        ray.kill(actor)
    del actor
    caught(f"ends by {end}", lambda end=end, pid=pid: (gone(pid), sorted(notes(end))))


@check("terminate comes last")
def _():
    a = A.remote()
    refs = [a.inc.remote() for _ in range(3)]
    last = a.__ray_terminate__.remote()
    return ray.get(refs), died(lambda: ray.get(last))


# -- scope and owners
@check("scope of a passed handle")
def _():
    @ray.remote(num_cpus=0)
    def hold(handle):
        time.sleep(0.5)
        return ray.get(handle.pid.remote())

    a = made()
    pid = ray.get(a.pid.remote())
    ref = hold.remote(a)
    del a
    return ray.get(ref) == pid, gone(pid)


@check("scope of a running call")
def _():
    a = made()
    pid = ray.get(a.pid.remote())
    ref = a.sleep.remote(0.3)
    del a
    return ray.get(ref), gone(pid)


@check("scope of a name")
def _():
    a = made(name="scoped")
    pid = ray.get(a.pid.remote())
    del a
    return gone(pid), kind(lambda: ray.get_actor("scoped"))


@check("detached")
def _():
    a = made(name="detached", lifetime="detached")
    pid = ray.get(a.pid.remote())
    del a
    time.sleep(0.5)
    b = ray.get_actor("detached")
    same = ray.get(b.pid.remote()) == pid
    ray.kill(b)
    return same, gone(pid), kind(lambda: ray.get_actor("detached"))


@ray.remote(num_cpus=0)
class Parent:
    def make(self, **options):
        self.child = A.options(**options).remote()
        return self.child, ray.get(self.child.pid.remote())


@check("owner dies")
def _():
    parent = Parent.remote()
    child, pid = ray.get(parent.make.remote())
    ray.kill(parent)
    return gone(pid), died(lambda: ray.get(child.pid.remote()))


@check("owner of a detached one dies")
def _():
    parent = Parent.remote()
    _, pid = ray.get(parent.make.remote(name="orphan", lifetime="detached"))
    ray.kill(parent)
    time.sleep(0.5)
    orphan = ray.get_actor("orphan")
    same = ray.get(orphan.pid.remote()) == pid
    ray.kill(orphan)
    return same


@check("creating task ends")
def _():
    @ray.remote(num_cpus=0)
    def make():
        return A.remote()

    return ray.get(ray.get(make.remote()).inc.remote())


caught("exit in a driver", lambda: ray.actor.exit_actor())
ray.shutdown()
