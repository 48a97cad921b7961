# SPDX-License-Identifier: Apache-2.0
"""Goal: Python calls TypeScript: functions and actors by module and export, values, handles both
ways, errors.

Method: a TypeScript module written for the test, one runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polyray as ray
import pyarrow as pa
import pytest
from polyray.exceptions import InvalidOptionError, RayError, RayTaskError

SOURCE = """
export const square = (x: number): number => x * x;
export async function later(x: number): Promise<number> { return x + 1; }
export const echo = (value: unknown): unknown => value;
export function sum(values: Float64Array): number { return values.reduce((a, b) => a + b, 0); }
export function fail(): never { throw new TypeError("from TypeScript"); }
export class Counter {
  n: number;
  constructor(start: number) { this.n = start; }
  incr(by: number): number { this.n += by; return this.n; }
  where(): number { return process.pid; }
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("ts") / "tasks.ts"
    path.write_text(SOURCE)
    with ray.init(num_cpus=2):
        yield path


def test_functions_are_called_by_module_and_export(module: Path) -> None:
    square = ray.js_function(module.as_uri(), "square")
    assert ray.get([square.remote(i) for i in range(50)]) == [i * i for i in range(50)]
    assert ray.get(ray.js_function(module, "later").remote(square.remote(3))) == 10


@pytest.mark.parametrize(
    "value",
    [None, True, 5, -1.5, "é", b"bytes", [1, [2, "x"]], {"a": 1}, {1, 2}, 2**70],
)
def test_plain_values_come_back_equal(module: Path, value: object) -> None:
    assert ray.get(ray.js_function(module, "echo").remote(value)) == value


def test_arrays_and_tables_cross(module: Path) -> None:
    assert ray.get(ray.js_function(module, "sum").remote(np.ones(1_000_000))) == 1_000_000
    table = pa.table({"a": np.arange(100_000)})
    assert ray.get(ray.js_function(module, "echo").remote(ray.put(table))).equals(table)


def test_python_objects_pass_through_untouched(module: Path) -> None:
    from fractions import Fraction

    assert ray.get(ray.js_function(module, "echo").remote(Fraction(2, 3))) == Fraction(2, 3)


def test_actors_keep_state_and_their_handles_travel(module: Path) -> None:
    counter = ray.js_actor_class(module, "Counter").options(name="ts-counter").remote(10)
    assert ray.get([counter.incr.remote(1) for _ in range(5)]) == [11, 12, 13, 14, 15]

    @ray.remote
    def use(handle: ray.ActorHandle) -> int:
        return ray.get(handle.incr.remote(5))

    assert ray.get(use.remote(counter)) == 20
    assert ray.get(ray.get_actor("ts-counter").incr.remote(1)) == 21


def test_errors_say_where_they_were_raised(module: Path) -> None:
    with pytest.raises(RayTaskError, match="from TypeScript") as caught:
        ray.get(ray.js_function(module, "fail").remote())
    assert "tasks.ts" in str(caught.value)
    with pytest.raises(RayError, match="nothing"):
        ray.get(ray.js_function(module, "nothing").remote())
    with pytest.raises(RayError, match="no method"):
        ray.get(ray.js_actor_class(module, "Counter").remote(1).nope.remote())
    with pytest.raises(InvalidOptionError, match="no module"):
        ray.js_function("/nowhere/at/all.ts", "f")


def test_a_killed_typescript_actor_fails_its_calls(module: Path) -> None:
    counter = ray.js_actor_class(module, "Counter").remote(1)
    ray.get(counter.where.remote())
    ray.kill(counter)
    with pytest.raises(RayError):
        ray.get(counter.incr.remote(1), timeout=60)
