# SPDX-License-Identifier: Apache-2.0
"""Errors of tasks and actors: classes, texts, causes, chains."""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback

from support import caught, kinds, norm, ray, say

ray.init(num_cpus=4, log_to_driver=False)
X = ray.exceptions


class Custom(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}-{b}")
        self.a = a
        self.b = b


class Plain(Exception):
    code = 7


class NoPickle(Exception):
    def __init__(self, lock):
        super().__init__("locked")
        self.lock = lock


class Evil(Exception):
    def __reduce__(self):
        raise TypeError("no pickle for me")


class Final(Exception):
    def __init_subclass__(cls, /, **kwargs):
        raise TypeError("Cannot subclass this little exception class.")


@ray.remote
def fail(kind):
    import threading

    if kind == "value":
        raise ValueError("boom", 3)
    if kind == "key":
        raise KeyError("k")
    if kind == "os":
        raise FileNotFoundError(2, "nope", "/x")
    if kind == "custom":
        raise Custom(1, 2)
    if kind == "plain":
        e = Plain("p")
        e.extra = [1, 2]
        raise e
    if kind == "nopickle":
        raise NoPickle(threading.Lock())
    if kind == "evil":
        raise Evil("evil")
    if kind == "final":
        raise Final("f")
    if kind == "group":
        raise ExceptionGroup("many", [ValueError("a"), TypeError("b")])  # noqa: F821
    if kind == "from":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    if kind == "exit":
        sys.exit(3)
    if kind == "kbd":
        raise KeyboardInterrupt("stop")
    if kind == "base":
        raise BaseException("base")
    if kind == "stop":
        raise StopIteration(4)
    if kind == "assert":
        assert False, "asserted"
    if kind == "zero":
        return 1 / 0
    if kind == "system":
        raise X.RaySystemError("mine")
    if kind == "getto":
        raise X.GetTimeoutError("mine")
    if kind == "empty":
        raise RuntimeError
    if kind == "multi":
        raise ValueError("line one\nline two")
    if kind == "memory":
        raise MemoryError("m")
    if kind == "return":
        return ValueError("as value")


def shape(name, error):
    cause = getattr(error, "cause", None)
    say(
        f"{name} shape",
        type(error).__name__,
        type(cause).__name__,
        norm(repr(getattr(cause, "args", None))),
        isinstance(error, X.RayTaskError),
    )


for kind in (
    "value",
    "key",
    "os",
    "custom",
    "plain",
    "nopickle",
    "evil",
    "final",
    "group",
    "from",
    "stop",
    "assert",
    "zero",
    "system",
    "getto",
    "empty",
    "multi",
    "memory",
    "return",
):
    e = caught(f"task {kind}", lambda: ray.get(fail.remote(kind)), text=False)
    if e is not None:
        shape(f"task {kind}", e)
        lines = str(e).split("\n")
        say(f"task {kind} first", lines[0])
        say(f"task {kind} last", lines[-1])
        if kind in ("value", "from", "multi", "zero"):
            say(f"task {kind} text", str(e))

one = ray.remote(max_retries=0)(fail._function)
for kind in ("exit", "kbd", "base"):
    e = caught(f"task {kind}", lambda: ray.get(one.remote(kind), timeout=60), text=False)
    if isinstance(e, X.RayTaskError):
        shape(f"task {kind}", e)
try:
    ray.get(fail.remote("os"))
except OSError as error:
    say("errno", error.errno, error.filename)
try:
    ray.get(fail.remote("plain"))
except Plain as error:
    say("attributes", error.code, getattr(error, "extra", None), error.args)
try:
    ray.get(fail.remote("custom"))
except Custom as error:
    say("custom attributes", error.a, error.b)
except Exception as error:
    say("custom attributes", type(error).__name__, norm(str(error).split("\n")[-1]))
try:
    ray.get(fail.remote("value"))
except ValueError as error:
    again = pickle.loads(pickle.dumps(error.cause))
    say("pickled cause", repr(again))
    say("cause attr", error.cause.args, error.__cause__ is None or True)
    say("format", norm(traceback.format_exc().strip().split("\n")[-1]))
    say("plain str", str(error.cause))
caught("isinstance RayError", lambda: issubclass(X.RayTaskError, X.RayError))


@ray.remote
def outer(kind):
    return ray.get(fail.remote(kind))


@ray.remote
def ident(x):
    return x


e = caught("nested", lambda: ray.get(outer.remote("value")), text=False)
shape("nested", e)
say("nested lines", sum("ray::" in line for line in str(e).split("\n")), str(e).split("\n")[-1])
say("nested text", str(e))
e = caught("dependency", lambda: ray.get(ident.remote(fail.remote("value"))), text=False)
shape("dependency", e)
say("dependency text", str(e))
e = caught(
    "dependency chain", lambda: ray.get(ident.remote(ident.remote(fail.remote("key")))), text=False
)
say("dependency chain text", str(e))
caught(
    "list first",
    lambda: ray.get([ident.remote(1), fail.remote("value"), ident.remote(2)]),
    text=False,
)
caught(
    "num_returns each", lambda: ray.get(fail.options(num_returns=2).remote("value")[1]), text=False
)
r, rest = ray.wait([fail.remote("value")], timeout=30)
say("wait ready", len(r), len(rest))


@ray.remote
class A:
    def __init__(self, bad=False):
        if bad:
            raise ValueError("no actor")
        self.n = 0

    def fail(self, kind="value"):
        raise ValueError("method")

    def die(self):
        os._exit(1)

    def ok(self):
        self.n += 1
        return self.n

    def exit(self):
        sys.exit(0)

    def ray_exit(self):
        ray.actor.exit_actor()

    def hang(self):
        time.sleep(60)

    def __repr__(self):
        return "MyA"


a = A.remote()
e = caught("method", lambda: ray.get(a.fail.remote()), text=False)
shape("method", e)
say("method text", str(e))
caught("actor lives on", lambda: ray.get(a.ok.remote()))
e = caught("method dependency", lambda: ray.get(a.fail.remote(fail.remote("key"))), text=False)
say("method dependency first", str(e).split("\n")[0], str(e).split("\n")[-1])
b = A.remote(True)
e = caught("constructor", lambda: ray.get(b.ok.remote()), text=False)
say("constructor text", str(e))
say(
    "constructor fields",
    e.actor_init_failed,
    e.preempted,
    type(e.actor_id).__name__,
    e.actor_id == b._actor_id.hex(),
    e.error_msg == str(e),
)
caught("constructor again", lambda: ray.get(b.ok.remote()), text=False)
c = A.remote()
ray.get(c.ok.remote())
e = caught("method dies", lambda: ray.get(c.die.remote()), text=False)
say("method dies lines", *[line.split(":")[0] for line in str(e).split("\n")])
say("method dies first", str(e).split("\n")[0])
e = caught("after death", lambda: ray.get(c.ok.remote()), text=False)
say("after death first", str(e).split("\n")[0], e.actor_id == c._actor_id.hex())
d = A.remote()
ray.get(d.ok.remote())
h = d.hang.remote()
q = d.ok.remote()
time.sleep(0.2)
ray.kill(d)
e = caught("killed running", lambda: ray.get(h), text=False)
say("killed lines", *[line.split(":")[0] for line in str(e).split("\n")])
say("killed reason", "ray.kill" in str(e))
caught("killed queued", lambda: ray.get(q), text=False)
caught("kill again", lambda: ray.kill(d))
caught("kill ref", lambda: ray.kill(h), text=False)
f = A.remote()
e = caught("sys.exit in method", lambda: ray.get(f.exit.remote()), text=False)
g = A.remote()
e = caught("exit_actor", lambda: ray.get(g.ray_exit.remote()), text=False)
say("exit_actor text", "exit_actor" in str(e))
e = caught("after exit_actor", lambda: ray.get(g.ok.remote()), text=False)


@ray.remote(max_retries=0)
def crash():
    os._exit(1)


e = caught("crash", lambda: ray.get(crash.remote()), text=False)
say("crash text", str(e)[:56])


@ray.remote
class Dep:
    def __init__(self, x):
        self.x = x

    def get(self):
        return self.x


e = caught(
    "constructor dependency",
    lambda: ray.get(Dep.remote(fail.remote("value")).get.remote()),
    text=False,
)
caught("raise ray error", lambda: ray.get(ident.remote(crash.remote())), text=False)


@ray.remote
def catches():
    try:
        ray.get(fail.remote("value"))
    except ValueError as error:
        return type(error).__name__, str(error.cause)


caught("caught inside", lambda: ray.get(catches.remote()))
caught("exit_actor outside", lambda: ray.actor.exit_actor(), text=False)
caught("get_actor missing", lambda: ray.get_actor("nope"))
caught("get_actor empty", lambda: ray.get_actor(""))
caught("get_actor ns", lambda: ray.get_actor("x", namespace=""))
caught("cancel int", lambda: ray.cancel(5))
caught("cancel handle", lambda: ray.cancel(a), text=False)
caught("kill int", lambda: ray.kill(5))

T = [
    lambda: X.RayTaskError(
        "f",
        "Traceback (most recent call last):\n  File x\nValueError: a",
        ValueError("a"),
        proctitle="ray::f",
        pid=1,
        ip="1.1.1.1",
    ),
    lambda: X.TaskCancelledError(),
    lambda: X.TaskCancelledError(ray.TaskID.nil()),
    lambda: X.TaskCancelledError(None, "why"),
    lambda: X.RayActorError(),
    lambda: X.RayActorError(actor_id="ab", error_msg="m"),
    lambda: X.ActorDiedError(),
    lambda: X.ActorUnavailableError("down", None),
    lambda: X.ActorUnavailableError("down", b"\1" * 16),
    lambda: X.WorkerCrashedError(),
    lambda: X.LocalRayletDiedError(),
    lambda: X.RaySystemError("e"),
    lambda: X.RaySystemError("e", "tb"),
    lambda: X.UserCodeException("u"),
    lambda: X.ObjectStoreFullError("full"),
    lambda: X.OutOfDiskError("disk"),
    lambda: X.OutOfMemoryError("mem"),
    lambda: X.NodeDiedError("node"),
    lambda: X.ObjectLostError("ab", None, ""),
    lambda: X.ObjectLostError("ab", None, "site"),
    lambda: X.ObjectFetchTimedOutError("ab", None, ""),
    lambda: X.RpcError("m", 3),
    lambda: X.ReferenceCountingAssertionError("ab", None, ""),
    lambda: X.ObjectFreedError("ab", None, ""),
    lambda: X.OwnerDiedError("ab", None, ""),
    lambda: X.ObjectReconstructionFailedError("ab", reason_message="r"),
    lambda: X.GetTimeoutError("t"),
    lambda: X.PlasmaObjectNotAvailable("p"),
    lambda: X.AsyncioActorExit("x"),
    lambda: X.RuntimeEnvSetupError("why"),
    lambda: X.RuntimeEnvSetupError(),
    lambda: X.TaskPlacementGroupRemoved(),
    lambda: X.ActorPlacementGroupRemoved(),
    lambda: X.PendingCallsLimitExceeded("p"),
    lambda: X.TaskUnschedulableError("t"),
    lambda: X.ActorUnschedulableError("t"),
    lambda: X.ObjectRefStreamEndOfStreamError("s"),
    lambda: X.StreamingGeneratorReplayInconsistentError("s"),
    lambda: X.OufOfBandObjectRefSerializationException("o"),
    lambda: X.RayChannelError("c"),
    lambda: X.RayChannelTimeoutError("c"),
    lambda: X.RayCgraphCapacityExceeded("c"),
    lambda: X.RayDirectTransportError("c"),
    lambda: X.UnserializableException("stack"),
    lambda: X.ActorAlreadyExistsError("a"),
    lambda: X.ActorHandleNotFoundError("a"),
]
for i, make in enumerate(T):
    try:
        error = make()
        again = pickle.loads(pickle.dumps(error))
        say(
            f"made {i}",
            type(error).__name__,
            kinds(error),
            str(error),
            type(again).__name__,
            str(again) == str(error),
        )
    except Exception as fault:
        say(f"made {i}", "fails", type(fault).__name__)
say("types", *[t.__name__ for t in X.RAY_EXCEPTION_TYPES])
ray.shutdown()
