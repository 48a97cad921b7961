# SPDX-License-Identifier: Apache-2.0
"""retry_exceptions of methods in actors of every kind, and max_calls when many calls wait."""

from __future__ import annotations

import asyncio
import collections
import os

from support import ray, say

ray.init(num_cpus=3, log_to_driver=False)


@ray.remote(num_cpus=0)
class Tally:
    def __init__(self):
        self.counts = collections.Counter()

    def add(self, name):
        self.counts[name] += 1
        return self.counts[name]

    def of(self, name):
        return self.counts[name]


tally = Tally.remote()


class OtherError(KeyError):
    pass


def raising(name, limit, error):
    # Fails until it was called `limit` times.
    count = ray.get(tally.add.remote(name))
    if count < limit:
        raise error(f"call {count}")
    return count


class Base:
    @ray.method(max_task_retries=3, retry_exceptions=True)
    def declared(self, name, limit, error):
        return raising(name, limit, error)

    @ray.method(max_task_retries=3, retry_exceptions=[KeyError])
    def listed(self, name, limit, error):
        return raising(name, limit, error)

    def plain(self, name, limit, error):
        return raising(name, limit, error)


@ray.remote(num_cpus=0)
class Plain(Base):
    pass


@ray.remote(num_cpus=0, max_concurrency=3)
class Threaded(Base):
    pass


@ray.remote(num_cpus=0)
class Loop:
    async def _raise(self, name, limit, error):
        count = await tally.add.remote(name)
        await asyncio.sleep(0)
        if count < limit:
            raise error(f"call {count}")
        return count

    @ray.method(max_task_retries=3, retry_exceptions=True)
    async def declared(self, name, limit, error):
        return await self._raise(name, limit, error)

    @ray.method(max_task_retries=3, retry_exceptions=[KeyError])
    async def listed(self, name, limit, error):
        return await self._raise(name, limit, error)

    async def plain(self, name, limit, error):
        return await self._raise(name, limit, error)


def outcome(ref, name):
    try:
        shown = f"value {ray.get(ref)}"
    except Exception as error:
        shown = f"{type(error).__name__} | {str(error).strip().splitlines()[-1]}"
    return f"{shown} after {ray.get(tally.of.remote(name))}"


for cls in (Plain, Threaded, Loop):
    kind = cls.__ray_metadata__.class_name
    actor = cls.remote()
    for method, options, limit, error in (
        ("declared", {}, 3, ValueError),
        ("declared", {}, 9, ValueError),
        ("listed", {}, 3, KeyError),
        ("listed", {}, 3, OtherError),
        ("listed", {}, 3, ValueError),
        ("plain", {}, 3, ValueError),
        ("plain", {"max_task_retries": 2}, 3, ValueError),
        ("plain", {"retry_exceptions": True}, 3, ValueError),
        ("plain", {"max_task_retries": 2, "retry_exceptions": True}, 3, ValueError),
        ("plain", {"max_task_retries": 2, "retry_exceptions": [ValueError]}, 3, ValueError),
        ("plain", {"max_task_retries": 2, "retry_exceptions": [ValueError]}, 3, KeyError),
        ("plain", {"max_task_retries": -1, "retry_exceptions": True}, 12, ValueError),
        ("declared", {"retry_exceptions": False}, 3, ValueError),
        ("declared", {"max_task_retries": 1}, 3, ValueError),
    ):
        asked = ", ".join(f"{name}={value}" for name, value in options.items())
        name = f"{kind}.{method}({asked}) {limit} {error.__name__}"
        called = getattr(actor, method)
        called = called.options(**options) if options else called
        say(name, outcome(called.remote(name, limit, error), name))


@ray.remote(max_calls=3)
def limited(number):
    return number, os.getpid()


@ray.remote(max_calls=1)
def once(number):
    return number, os.getpid()


for function, most in ((limited, 3), (once, 1)):
    refs = [function.remote(number) for number in range(24)]
    found = ray.get(refs)
    say(f"{most} at most: all came", [number for number, _ in found] == list(range(24)))
    runs = collections.Counter(pid for _, pid in found)
    say(f"{most} at most: held", max(runs.values()) <= most)
mixed = [f.remote(n) for n in range(6) for f in (limited, once)]
say("mixed came", [number for number, _ in ray.get(mixed)] == [n for n in range(6) for _ in "12"])
