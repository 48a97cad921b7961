# SPDX-License-Identifier: Apache-2.0
"""Errors of Ray that are stored as values, the id of a constructor, names and sizes that are
refused."""

from __future__ import annotations

import asyncio
from importlib import import_module

from support import ray, say

ray.init(num_cpus=3, log_to_driver=False)
X = ray.exceptions
util = import_module(ray.__name__ + ".util")
Pool = import_module(ray.__name__ + ".util.multiprocessing").Pool


@ray.remote
def fail():
    raise ValueError("boom")


@ray.remote
def same(x):
    return x


@ray.remote
def give():
    return X.GetTimeoutError("given")


@ray.remote
def items():
    yield X.GetTimeoutError("item")


def text_of(make):
    try:
        value = make()
        return f"value {type(value).__name__}"
    except BaseException as error:
        last = (str(error).strip().splitlines() or [""])[-1]
        return f"raised {type(error).__name__} | {last}"


def failure():
    try:
        ray.get(fail.remote())
    except ValueError as error:
        return error
    raise AssertionError


async def awaited(ref):
    return await ref


failed = failure()
for name, error in (
    ("task error", failed),
    ("its cause", failed.cause),
    ("timeout", X.GetTimeoutError("stored")),
    ("in a list", [X.GetTimeoutError("inner")]),
):
    ref = ray.put(error)
    say(f"get {name}", text_of(lambda r=ref: ray.get(r)))
    say(f"get a list with {name}", text_of(lambda r=ref: ray.get([ray.put(1), r])))
    say(f"await {name}", text_of(lambda r=ref: asyncio.run(awaited(r))))
    say(f"argument {name}", text_of(lambda r=ref: ray.get(same.remote(r))).split("|")[0])
say("returned", text_of(lambda: ray.get(give.remote())))
say("yielded", text_of(lambda: [ray.get(ref) for ref in items.remote()]))


@ray.remote
class Named:
    def __init__(self):
        context = ray.get_runtime_context()
        self.own = (context.get_task_id(), context.get_actor_id())

    def ids(self):
        return self.own


task, actor = ray.get(Named.remote().ids.remote())
say("id in a constructor", task == "f" * 16 + actor)

for name in (3, None, b"bytes", "text"):
    say(
        f"group named {name!r}",
        text_of(lambda n=name: util.placement_group([{"CPU": 0.1}], name=n)).split("|")[0],
    )

with Pool(2) as pool:
    for size in (0, -1, "a", 1.5):
        for name, run in (
            ("map", lambda s: pool.map(abs, [1, 2, 3], chunksize=s)),
            ("starmap", lambda s: pool.starmap(pow, [(1, 2)], chunksize=s)),
        ):
            say(f"{name} by {size!r}", text_of(lambda r=run, s=size: r(s)).split("|")[0])
