# SPDX-License-Identifier: Apache-2.0
"""A Python driver with TypeScript workers: a function over a shared matrix, and an actor, called
from Python tasks too.
"""

from pathlib import Path

import numpy as np
import polyray as ray

TASKS = Path(__file__).parent / "tasks.ts"


@ray.remote
def report(tally: ray.ActorHandle, name: str) -> int:
    return ray.get(tally.add.remote(name))


with ray.init():
    matrix = ray.put(np.arange(1_000_000, dtype=np.float64).reshape(1000, 1000))
    largest = ray.get(ray.js_function(TASKS, "largest").remote(matrix))
    tally = ray.js_actor_class(TASKS, "Tally").remote()
    counts = sorted(ray.get([report.remote(tally, "python") for _ in range(5)]))
    print(f"TypeScript found {largest} and counted {counts}")
    assert largest == 999_999
    assert counts == [1, 2, 3, 4, 5]
