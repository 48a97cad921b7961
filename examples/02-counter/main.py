# SPDX-License-Identifier: Apache-2.0
"""An actor that counts: ten increments, in the order in which they were called."""

import polyray as ray


@ray.remote
class Counter:
    def __init__(self) -> None:
        self.value = 0

    def increment(self) -> int:
        self.value += 1
        return self.value

    def get(self) -> int:
        return self.value


with ray.init():
    counter = Counter.remote()
    seen = ray.get([counter.increment.remote() for _ in range(10)])
    print(f"saw {seen}, the counter is at {ray.get(counter.get.remote())}")
    assert seen == list(range(1, 11))
