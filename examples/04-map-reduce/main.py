# SPDX-License-Identifier: Apache-2.0
"""Map with a lambda, reduce with refs as arguments: the refs' values arrive, however many there
are.
"""

from collections.abc import Callable
from typing import Any

import polyray as ray


@ray.remote
def apply(function: Callable[[Any], Any], value: Any) -> Any:
    return function(value)


@ray.remote
def sum_results(*values: int) -> int:
    return sum(values)


def parallel_map(function: Callable[[Any], Any], values: list[Any]) -> list[ray.ObjectRef]:
    return [apply.remote(function, value) for value in values]


with ray.init():
    offset = 3
    refs = parallel_map(lambda x: x * x + offset, list(range(100)))
    total = ray.get(sum_results.remote(*refs))
    print(f"map and reduce of 100 numbers: {total}")
    assert total == sum(x * x + 3 for x in range(100))
