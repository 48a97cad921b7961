# SPDX-License-Identifier: Apache-2.0
"""Actor classes and handles: arguments, methods, inheritance, handles as values, refusals."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import typing

import numpy as np
from support import check, ray

ray.init(num_cpus=2, log_to_driver=False)
X = ray.exceptions


@ray.remote(num_cpus=0)
class C:
    """Doc of C."""

    X = 3

    def __init__(self, a=0, *args, k=1, **kw):
        self.a = a
        self.args = args
        self.k = k
        self.kw = kw

    def get(self):
        return self.a, self.args, self.k, self.kw

    def inc(self, by=1):
        self.a += by
        return self.a

    def kws(self, x, y=2, *z, w, **q):
        return x, y, z, w, q

    @classmethod
    def cm(cls, v):
        return cls.__name__, v

    @staticmethod
    def sm(v):
        return v * 2

    @property
    def prop(self):
        return 7

    def _hidden(self):
        return "hidden"

    def __len__(self):
        return 9

    def __call__(self, x):
        return x + 1

    def __getitem__(self, k):
        return k

    def gen(self, n):
        for i in range(n):
            yield i

    @ray.method(num_returns=2)
    def two(self):
        return 1, 2

    @ray.method(num_returns=0)
    def zero(self):
        return None

    def self_(self):
        return ray.get_runtime_context().current_actor

    def err(self):
        raise ValueError("x")


c = C.remote()
check("args1")(lambda: ray.get(C.remote(1, 2, 3, k=4, z=5).get.remote()))
check("kws")(lambda: ray.get(c.kws.remote(1, w=3)))
check("kws2")(lambda: ray.get(c.kws.remote(1, 5, 6, 7, w=3, u=9)))
check("kws missing w")(lambda: c.kws.remote(1))
check("kws missing x")(lambda: c.kws.remote(w=1))
check("kws dup")(lambda: c.kws.remote(1, w=1, x=3))
check("get too many")(lambda: c.get.remote(1))
check("inc bad kw")(lambda: c.inc.remote(bee=1))
check("cm")(lambda: ray.get(c.cm.remote(4)))
check("sm")(lambda: ray.get(c.sm.remote(4)))
check("sm direct")(lambda: C.sm(4))
check("class attr")(lambda: C.X)
check("prop")(lambda: c.prop)
check("prop remote")(lambda: c.prop.remote())
check("hidden")(lambda: ray.get(c._hidden.remote()))
check("len")(lambda: ray.get(c.__len__.remote()))
check("call")(lambda: ray.get(c.__call__.remote(4)))
check("getitem")(lambda: ray.get(c.__getitem__.remote("q")))
check("gen")(lambda: [ray.get(r) for r in c.gen.remote(3)])
check("gen type")(lambda: type(c.gen.remote(3)).__name__)
check("gen num_returns")(lambda: ray.get(c.gen.options(num_returns=3).remote(3)))
check("gen dynamic")(
    lambda: [ray.get(r) for r in ray.get(c.gen.options(num_returns="dynamic").remote(3))]
)
check("two")(lambda: ray.get(c.two.remote()))
check("two opt 1")(lambda: ray.get(c.two.options(num_returns=1).remote()))
check("zero")(lambda: c.zero.remote())
check("inc 0 returns")(lambda: c.inc.options(num_returns=0).remote(0))
check("repr handle")(lambda: repr(c))
check("repr method")(lambda: repr(c.inc))
check("str type handle")(lambda: type(c).__module__ + "." + type(c).__name__)
check("type method")(lambda: type(c.inc).__module__ + "." + type(c.inc).__name__)
check("isinstance class")(
    lambda: (
        isinstance(C, ray.actor.ActorClass),
        isinstance(c, ray.actor.ActorHandle),
        isinstance(c.inc, ray.actor.ActorMethod),
    )
)
check("dir handle")(lambda: [d for d in sorted(dir(c)) if not d.startswith("__")])
check("direct call")(lambda: c.inc(1))
check("instantiate")(lambda: C())
check("no method")(lambda: c.nope.remote())
check("hasattr")(lambda: (hasattr(c, "nope"), hasattr(c, "inc"), hasattr(c, "X"), hasattr(c, "a")))
check("setattr")(lambda: setattr(c, "zz", 1))
check("self eq")(lambda: ray.get(c.self_.remote()) == c)
check("hash")(lambda: len({c, ray.get(c.self_.remote())}))
check("eq other")(lambda: (c == 3, c != 3, c == C.remote()))
check("missing init")(lambda: C.options(num_cpus=0).remote())


@ray.remote(num_cpus=0)
class N:
    def __init__(self, x):
        pass

    def f(self):
        return 1


check("init missing")(lambda: N.remote())
check("init too many")(lambda: N.remote(1, 2))
check("init kw")(lambda: N.remote(y=1))


@ray.remote(num_cpus=0)
class NoInit:
    def f(self):
        return 1


check("noinit args")(lambda: NoInit.remote(1))
check("noinit")(lambda: ray.get(NoInit.remote().f.remote()))
check("err", text=False)(lambda: ray.get(c.err.remote()))


# inheritance
class Base:
    def __init__(self, x):
        self.x = x

    def who(self):
        return "base", self.x

    def over(self):
        return "base"

    def tmpl(self):
        return self.over()


class Mid(Base):
    def over(self):
        return "mid>" + super().over()


@ray.remote(num_cpus=0)
class Leaf(Mid):
    def __init__(self, x):
        super().__init__(x * 2)

    def over(self):
        return "leaf>" + super().over()


leaf = Leaf.remote(4)
check("inherit")(lambda: ray.get([leaf.who.remote(), leaf.over.remote(), leaf.tmpl.remote()]))
B = ray.remote(Base)
check("remote plain")(lambda: ray.get(B.remote(1).over.remote()))
check("base alive")(lambda: Base(1).over())


def sub():
    class D(C):
        pass


check("subclass actor")(sub)


def subinst():
    class Q(type(c)):
        pass

    return 1


check("subclass handle type")(subinst)
check("remote twice")(lambda: ray.remote(C))
check("remote obj")(lambda: ray.remote(3))
check("remote()")(lambda: ray.remote())
check("remote(num_cpus=1)(C)")(lambda: ray.get(ray.remote(num_cpus=0)(Base).remote(3).who.remote()))
check("options bad")(lambda: C.options(nope=1))
check("options num_returns")(lambda: C.options(num_returns=1))
check("options max_retries")(lambda: C.options(max_retries=1))
check("options max_calls")(lambda: C.options(max_calls=1))
check("chain")(lambda: ray.get(C.remote(5).inc.remote()))
check("chain opt")(
    lambda: ray.get(
        C.options(num_cpus=0, name="chained").remote(5).inc.options(name="u").remote(by=4)
    )
)
check("class in dict")(
    lambda: ray.get(ray.remote(lambda d: ray.get(d["c"][0].inc.remote(0))).remote({"c": [c]}))
)
check("in closure")(lambda: ray.get(ray.remote(lambda: ray.get(c.inc.remote(0))).remote()))
check("put handle")(lambda: ray.get(ray.get(ray.put(c)).inc.remote(0)))
check("put list")(lambda: ray.get(ray.get(ray.put([c, {"k": c}]))[1]["k"].inc.remote(0)))
check("method passed")(lambda: ray.get(ray.remote(lambda m: ray.get(m.remote(0))).remote(c.inc)))
check("class passed")(
    lambda: ray.get(ray.remote(lambda K: ray.get(K.remote(8).inc.remote())).remote(C))
)
check("pickle outside")(lambda: type(pickle.loads(pickle.dumps(c))).__name__)
check("cloudpickle")(lambda: type(ray.cloudpickle.loads(ray.cloudpickle.dumps(c))).__name__)
check("cloudpickle use")(
    lambda: ray.get(ray.cloudpickle.loads(ray.cloudpickle.dumps(c)).inc.remote(0))
)
check("pickle class")(
    lambda: ray.get(ray.cloudpickle.loads(ray.cloudpickle.dumps(C)).remote(6).inc.remote(0))
)
check("ref arg")(lambda: ray.get(c.inc.remote(ray.put(0))))
check("ref init")(lambda: ray.get(C.remote(ray.put(10)).inc.remote()))
check("ref nested init")(lambda: type(ray.get(C.remote([ray.put(10)]).get.remote())[0][0]).__name__)
check("ray call")(lambda: ray.get(c.__ray_call__.remote(lambda self, x: self.X + x, 4)))
check("ray ready")(lambda: ray.get(c.__ray_ready__.remote()))
check("metadata")(lambda: (C.__ray_metadata__.class_name, C.__ray_metadata__.max_restarts))
check("actor id")(
    lambda: (
        type(c._actor_id).__name__,
        len(c._actor_id.hex()) > 10,
        c._ray_actor_id == c._actor_id,
    )
)
check("method actor")(lambda: c.inc._method_name)
check("numpy")(lambda: ray.get(C.remote(np.ones(3)).get.remote())[0].tolist())
check("remote in cls body")(
    lambda: ray.get(
        ray.remote(num_cpus=0)(type("Dyn", (), {"f": lambda self: 5})).remote().f.remote()
    )
)


@ray.remote(num_cpus=0)
@dataclasses.dataclass
class DC:
    x: int
    y: str = "a"

    def f(self):
        return self.x, self.y


check("dataclass")(lambda: ray.get(DC.remote(1, y="b").f.remote()))
T = typing.TypeVar("T")


@ray.remote(num_cpus=0)
class Gen(typing.Generic[T]):
    def f(self, x: T) -> T:
        return x


check("generic")(lambda: ray.get(Gen.remote().f.remote(4)))


def dec(f):
    @functools.wraps(f)
    def w(self, *a, **k):
        return "w", f(self, *a, **k)

    return w


@ray.remote(num_cpus=0)
class Deco:
    @dec
    def f(self, x):
        return x

    g = lambda self: 4
    h = functools.partialmethod(lambda self, x: x, 5)


check("deco")(lambda: ray.get(Deco.remote().f.remote(4)))
check("lambda attr")(lambda: ray.get(Deco.remote().g.remote()))
check("partialmethod")(lambda: ray.get(Deco.remote().h.remote()))


@ray.remote(num_cpus=0)
class Slots:
    __slots__ = ("v",)

    def __init__(self):
        self.v = 4

    def f(self):
        return self.v


check("slots")(lambda: ray.get(Slots.remote().f.remote()))


@ray.remote(num_cpus=0)
class R:
    def __repr__(self):
        return "MyRepr"

    def f(self):
        raise ValueError("boo")

    def print(self):
        print("hi")


rr = R.remote()


@ray.remote(num_cpus=0)
class Setter:
    def set(self, v):
        self.v = v

    def get(self):
        return self.v


s = Setter.remote()
check("many")(
    lambda: (s.set.remote(1), [s.set.remote(i) for i in range(100)], ray.get(s.get.remote()))[-1]
)


@ray.remote(num_cpus=0)
class Inner:
    def mk(self):
        self.c = C.remote(5)
        return self.c

    def use(self):
        return ray.get(self.c.inc.remote())


i = Inner.remote()
check("inner")(lambda: (ray.get(ray.get(i.mk.remote()).inc.remote()), ray.get(i.use.remote())))
check("actor from task")(
    lambda: ray.get(ray.get(ray.remote(lambda: [C.remote(3).inc.remote()]).remote())[0])
)
check("handle from task")(
    lambda: ray.get(ray.get(ray.remote(lambda: C.remote(3)).remote()).inc.remote())
)
check("actor name conflict")(
    lambda: [
        ray.get(
            ray.remote(num_cpus=0)(type("A", (), {"f": (lambda i: lambda self: i)(i)}))
            .remote()
            .f.remote()
        )
        for i in range(3)
    ]
)


def anno():
    h: ray.actor.ActorHandle = c
    k: "ray.actor.ActorProxy[C]" = c
    return ray.actor.ActorHandle.__name__


check("anno")(anno)
check("actor mod names")(
    lambda: [
        hasattr(ray.actor, n)
        for n in (
            "ActorClass",
            "ActorHandle",
            "ActorMethod",
            "ActorProxy",
            "exit_actor",
            "ActorClassInheritanceException",
            "ActorClassMethodMetadata",
        )
    ]
)
check("method decorator bad")(lambda: ray.method(nope=1))
check("method decorator pos")(lambda: ray.method(3))
check("method decorator none")(lambda: ray.method(lambda self: 1) is not None)
check("get handle")(lambda: ray.get(c))
check("wait handle")(lambda: ray.wait([c]))
check("kill ref")(lambda: ray.kill(c.inc.remote(0)))
check("kill str")(lambda: ray.kill("x"))
check("cancel handle")(lambda: ray.cancel(c))
ray.shutdown()
