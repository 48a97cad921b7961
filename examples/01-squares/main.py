# SPDX-License-Identifier: Apache-2.0
"""400 squares, each a task of its own."""

import polyray as ray


@ray.remote
def square(x: int) -> int:
    return x * x


with ray.init():
    squares = ray.get([square.remote(i) for i in range(400)])
    print(f"the sum of 400 squares is {sum(squares)}")
    assert squares == [i * i for i in range(400)]
