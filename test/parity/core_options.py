# SPDX-License-Identifier: Apache-2.0
"""Options and the forms of remote: what is accepted, what is refused and how. Starts no runtime."""

from __future__ import annotations

from support import caught, norm, ray, say


def f(x, y=1):
    return x + y


def gen(n):
    yield from range(n)


class A:
    """Doc of A."""

    def __init__(self, x=0):
        self.x = x

    def m(self, a, b=2):
        return a + b

    def g(self):
        yield 1


TASK = {
    "num_cpus": [0, 0.5, 1, None, -1, 0.00001, "a"],
    "num_gpus": [0, 0.5, 2, 1.5, -1, "x"],
    "resources": [{"a": 1}, {"CPU": 1}, {"GPU": 1}, {"a": -1}, {"a": 0.00001}, [], "a", None],
    "memory": [1, 1.5, -1, None, "1"],
    "object_store_memory": [None, 1, "a"],
    "accelerator_type": [None, "T4", 1],
    "name": [None, "a", "", 3],
    "runtime_env": [None, {}, {"env_vars": {"A": "1"}}, 3, {"env_vars": {"A": 1}}],
    "scheduling_strategy": [None, "DEFAULT", "SPREAD", 5],
    "placement_group": [None, "default", 5],
    "placement_group_bundle_index": [-1, 0, None, "a"],
    "placement_group_capture_child_tasks": [None, True, 1],
    "enable_task_events": [True, None, 1],
    "_labels": [None, {}, 1],
    "max_calls": [0, 1, None, -1, "a", 1.5],
    "max_retries": [0, -1, None, -2, 1.0],
    "num_returns": [None, 0, 1, 3, -1, "streaming", "dynamic", "x", 1.5],
    "retry_exceptions": [True, [ValueError], (ValueError,), [1], None, [BaseException], 1, []],
    "_generator_backpressure_num_objects": [None, 1, -1, 0, "a"],
    "_num_objects_per_yield": [None, 1, 0, "a"],
    "label_selector": [None, {"a": "b"}, 3, {"a": 1}],
    "fallback_strategy": [None, [{"label_selector": {"a": "b"}}], 3, [1]],
    "max_restarts": [1],
    "bogus": [1],
}
for name, values in TASK.items():
    for value in values:
        caught(f"task {name}={value!r}", lambda: bool(ray.remote(**{name: value})(f)))
        caught(
            f"task.options {name}={value!r}", lambda: bool(ray.remote(f).options(**{name: value}))
        )

ACTOR = {
    **{k: v for k, v in TASK.items() if k not in ("max_calls", "max_retries")},
    "concurrency_groups": [None, {"io": 2}, [], 3, "a"],
    "lifetime": [None, "detached", "non_detached", "x", 1],
    "max_concurrency": [None, 1, 0, -1, "a", 2.0],
    "max_restarts": [0, -1, 3, None, -2, 1.5],
    "max_task_retries": [0, -1, None, -2],
    "max_pending_calls": [-1, 0, 3, None, -2],
    "namespace": [None, "a", 1],
    "get_if_exists": [False, True, None, 1],
    "allow_out_of_order_execution": [None, True, False, 1],
    "enable_tensor_transport": [None, False, "a"],
    "max_retries": [1],
    "max_calls": [1],
    "num_returns": [1],
}
for name, values in ACTOR.items():
    for value in values:
        caught(f"actor {name}={value!r}", lambda: bool(ray.remote(**{name: value})(A)))
        caught(
            f"actor.options {name}={value!r}", lambda: bool(ray.remote(A).options(**{name: value}))
        )
caught(
    "actor get_if_exists+name", lambda: bool(ray.remote(A).options(name="a", get_if_exists=True))
)

for name, values in {
    "num_returns": [None, 0, 2, -1, "streaming", "dynamic", "x"],
    "concurrency_group": [None, "io"],
    "max_task_retries": [0, 1, -1, -2],
    "retry_exceptions": [True, [ValueError], None],
    "_generator_backpressure_num_objects": [1],
    "_num_objects_per_yield": [0, 1],
    "enable_task_events": [True, None],
    "bogus": [1],
    "num_cpus": [1],
}.items():
    for value in values:
        caught(f"method {name}={value!r}", lambda: callable(ray.method(**{name: value})(A.m)))
        caught(f"method gen {name}={value!r}", lambda: callable(ray.method(**{name: value})(A.g)))
caught("method()", lambda: callable(ray.method()(A.m)))
caught("method bare", lambda: callable(ray.method(A.m)))
caught("method args", lambda: ray.method(1, num_returns=2))
for attribute in [a for a in dir(A.m) if "ray" in a]:
    delattr(A.m, attribute)

caught("remote()", lambda: ray.remote())
caught("remote()(f)", lambda: ray.remote()(f))
caught("remote(3)", lambda: ray.remote(3))
caught("remote(f, num_cpus)", lambda: ray.remote(f, num_cpus=1))
caught("remote(f, g)", lambda: ray.remote(f, gen))
caught("remote(lambda)", lambda: type(ray.remote(lambda: 1)).__name__)
caught("remote(len)", lambda: type(ray.remote(len)).__name__)
caught("remote(remote f)", lambda: type(ray.remote(ray.remote(f))).__name__)
caught("remote(remote A)", lambda: type(ray.remote(ray.remote(A))).__name__)
caught("remote(num_cpus)(3)", lambda: ray.remote(num_cpus=1)(3))
caught("generator ok", lambda: type(ray.remote(num_returns="streaming")(gen)).__name__)
caught("generator dynamic", lambda: type(ray.remote(num_returns="dynamic")(gen)).__name__)


async def co():
    return 1


caught("remote(async)", lambda: ray.remote(co))
rf = ray.remote(f)
RA = ray.remote(A)
caught("call f", lambda: rf(1))
caught("call A", lambda: RA())
caught("call A args", lambda: RA(1, 2))
say("f name", rf._function is f, rf._function_name)
say("A name", RA.__module__)
say("repr f", norm(repr(rf)).split(" object")[0])
say("repr A", repr(RA).split(" object")[0])
say("types", type(rf).__name__, type(rf).__module__)
say(
    "isinstance",
    isinstance(RA, ray.actor.ActorClass),
    isinstance(rf, ray.remote_function.RemoteFunction),
)


def sub():
    class B(RA):
        pass


caught("subclass", sub)


class Base:
    def hi(self):
        return 1


@ray.remote
class Derived(Base):
    """Doc of Derived."""

    @staticmethod
    def s():
        return 2

    @classmethod
    def c(cls):
        return 3

    @property
    def p(self):
        return 4


caught("derived", lambda: Derived.__ray_metadata__.class_name)
caught("class static", lambda: Derived.s())
caught("class attr", lambda: Derived.nope)
caught("class method attr", lambda: callable(Derived.hi))


def noself():
    @ray.remote
    class N:
        def m():
            pass


caught("no self", noself)
caught("f.options().remote type", lambda: type(rf.options(num_cpus=2).remote).__name__)
caught(
    "options bad combination",
    lambda: ray.remote(num_returns=2, max_calls=1)(f).options(max_calls=2),
)
