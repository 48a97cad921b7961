# SPDX-License-Identifier: Apache-2.0
"""A matrix as an argument: by value, and by a ref to one put, which every task reads in place."""

import numpy as np
import polyray as ray


@ray.remote
def sum_matrix(matrix: np.ndarray) -> float:
    return float(np.sum(matrix))


with ray.init():
    print("by value, 100x100:", ray.get(sum_matrix.remote(np.ones((100, 100)))))
    matrix = ray.put(np.ones((1000, 1000)))
    sums = ray.get([sum_matrix.remote(matrix) for _ in range(10)])
    print("by ref, 1000x1000, ten times:", sums[0])
    assert sums == [1_000_000.0] * 10
    assert not ray.get(matrix).flags.writeable
