# SPDX-License-Identifier: Apache-2.0
"""Pi from 600 batches that return fractions: Python objects that need no form of their own to
travel.

`main.py [samples of a batch]`.
"""

import math
import random
import sys
from fractions import Fraction

import polyray as ray

BATCHES = 600
SAMPLES = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


@ray.remote
def pi4_sample(sample_count: int) -> Fraction:
    inside = sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(sample_count))
    return Fraction(inside, sample_count)


with ray.init():
    results = [pi4_sample.remote(sample_count=SAMPLES) for _ in range(BATCHES)]
    pi = sum(ray.get(results), Fraction(0)) * 4 / BATCHES
    print(f"pi is about {float(pi)} (off by {abs(float(pi) - math.pi):.6f})")
    assert isinstance(pi, Fraction)
    assert abs(float(pi) - math.pi) < 0.1
