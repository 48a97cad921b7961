# SPDX-License-Identifier: Apache-2.0
"""Pi by Monte Carlo. The tasks tell an actor how far they are, and the driver looks at it while
they run.
"""

import math
import random
import sys
import time

import polyray as ray

TASKS = 10
SAMPLES = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
POLL_S = min(1.0, SAMPLES / 1_000_000)


@ray.remote
class ProgressActor:
    def __init__(self, total: int) -> None:
        self.total = total
        self.done: dict[int, int] = {}

    def report_progress(self, task: int, samples: int) -> None:
        self.done[task] = samples

    def get_progress(self) -> float:
        return sum(self.done.values()) / self.total


@ray.remote
def sample(count: int, task: int, progress: ray.ActorHandle) -> int:
    inside = 0
    for i in range(count):
        inside += math.hypot(random.uniform(-1, 1), random.uniform(-1, 1)) <= 1
        if (i + 1) % 100_000 == 0:
            progress.report_progress.remote(task, i + 1)
    ray.get(progress.report_progress.remote(task, count))
    return inside


with ray.init():
    progress = ProgressActor.remote(TASKS * SAMPLES)
    results = [sample.remote(SAMPLES, task, progress) for task in range(TASKS)]
    while (done := ray.get(progress.get_progress.remote())) < 1:
        print(f"progress: {done:.0%}")
        time.sleep(POLL_S)
    pi = 4 * sum(ray.get(results)) / (TASKS * SAMPLES)
    print(f"pi is about {pi}")
    assert abs(pi - math.pi) < 0.1
