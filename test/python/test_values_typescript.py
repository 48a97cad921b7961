# SPDX-License-Identifier: Apache-2.0
"""Goal: every row of the value table of docs/values.md holds between Python and a TypeScript
worker, both ways: what JavaScript knows changes as the table says, all else comes back untouched.

Method: a TypeScript module that echoes, describes and makes values; refs, handles and streams cross
too. One runtime.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polyray as ray
import pyarrow as pa
import pytest
from polyray.exceptions import RayTaskError

SOURCE = """
import { get, ObjectRef } from "polyray";
export const echo = (value: unknown): unknown => value;
export const box = (value: unknown): unknown => ({ box: [value, { again: value }] });
export const kind = (value: unknown): string =>
  value === null ? "null" : typeof value !== "object" ? typeof value : value.constructor.name;
export const kinds = (...values: unknown[]): string[] => values.map(kind);
export const make = (): unknown => ({
  nothing: null, missing: undefined, flag: true, whole: 7, minusZero: -0, half: 0.5, nan: NaN,
  big: 2n ** 70n, small: 5n, long: 2n ** 60n, text: "grüße 😀", lone: "a\\ud800b",
  bytes: new Uint8Array([1, 2]), list: [1, [2]], record: { a: { b: 1 } },
  map: new Map<unknown, unknown>([[1, "one"], ["k", [2]]]), set: new Set([1, "a"]),
  when: new Date("2026-01-02T03:04:05.678Z"), floats: new Float32Array([1.5, 2]),
  longs: new BigInt64Array([-1n, 2n]), clamped: new Uint8ClampedArray([255]),
  error: new RangeError("too far"), pattern: /a+/gi,
});
export async function read(ref: ObjectRef<unknown>): Promise<unknown> { return await get(ref); }
export const inside = async (box: { refs: ObjectRef<number>[] }): Promise<number> =>
  (await get(box.refs)).reduce((a, b) => a + b, 0);
export const total = (values: number[], options: { factor?: number } = {}): number =>
  values.reduce((a, b) => a + b, 0) * (options.factor ?? 1);
export function* count(n: number): Generator<number> { for (let i = 0; i < n; i++) yield i * i; }
export async function* later(n: number): AsyncGenerator<{ i: number }> {
  for (let i = 0; i < n; i++) yield { i };
}
export class Maker {
  constructor(private readonly start: number) {}
  *up(n: number): Generator<number> { for (let i = 0; i < n; i++) yield this.start + i; }
  async *slowly(n: number): AsyncGenerator<number> { for (let i = 0; i < n; i++) yield i; }
  *breaks(): Generator<number> { yield 1; throw new TypeError("in the middle"); }
  async useActor(actor: any, n: number): Promise<number> { return await get(actor.add.remote(n)); }
  async useBox(box: { actor: any }): Promise<unknown> {
    const out: unknown[] = [];
    for await (const value of box.actor.numbers.remote(3).values()) out.push(value);
    return out;
  }
}
"""
Pair = namedtuple("Pair", "left right")


class Colour(enum.Enum):
    RED = 1


class Text(str):
    """A subclass of a plain type."""


@dataclass
class Point:
    x: int
    tags: list[str]


class OwnError(Exception):
    def __init__(self, number: int, why: str) -> None:
        super().__init__(number, why)
        self.number = number

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.args == other.args  # type: ignore[attr-defined]

    __hash__ = Exception.__hash__


@pytest.fixture(scope="module")
def ts() -> Iterator[Callable[[str], Any]]:
    # Inside of the package, where its own name can be imported.
    path = pathlib.Path(__file__).parents[2] / "build" / "test-python" / "values.ts"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOURCE)
    with ray.init(num_cpus=2):
        yield lambda name: ray.js_function(path, name)


@pytest.fixture(scope="module")
def maker(ts: Callable[[str], Any]) -> Any:
    return ray.js_actor_class(ts("echo")._target.module, "Maker").remote(10)


UTC = dt.timezone.utc
NIGHT = dt.datetime(2026, 1, 2, 3, 4, 5, 678901)
UNTOUCHED = [
    decimal.Decimal("1.10"), Fraction(2, 3), uuid.UUID(int=7), pathlib.PurePosixPath("/a/b"),
    Pair(1, "r"), Point(1, ["t"]), Colour.RED, Text("sub"), OrderedDict(a=1), range(3), slice(1, 2),
    NIGHT, NIGHT.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), NIGHT.date(), NIGHT.time(),
    dt.timedelta(days=1, microseconds=1), dt.datetime(1, 1, 1, tzinfo=UTC), OwnError(3, "why"),
    int, len, NotImplemented, Ellipsis, complex(1, -2), 2**70, -(2**64), 2**53 + 1, "a\ud800b",
    pd.Timestamp("2026-01-02"), np.dtype("i4"), b"", b"\x00" * 300, [], {}, "", [[[]]], None,
]  # fmt: skip


def test_what_javascript_does_not_know_comes_back_untouched(ts: Callable[[str], Any]) -> None:
    back = ray.get(ts("echo").remote(UNTOUCHED))
    for given, got in zip(UNTOUCHED, back, strict=True):
        assert type(got) is type(given), given
        assert got == given, given
    boxed = ray.get(ts("box").remote(Point(2, [])))
    assert boxed == {"box": [Point(2, []), {"again": Point(2, [])}]}
    assert boxed["box"][0] is boxed["box"][1]["again"]
    function = ray.get(ts("echo").remote(lambda x: x + 1))
    assert function(4) == 5


def test_what_javascript_knows_changes_as_the_table_says(ts: Callable[[str], Any]) -> None:
    naive_ms = NIGHT.replace(tzinfo=UTC, microsecond=678000)
    rows: list[tuple[Any, Any]] = [
        (True, True), (7, 7), (1.0, 1), (1.5, 1.5), (math.inf, math.inf), (-math.inf, -math.inf),
        (bytearray(b"ab"), b"ab"), (memoryview(b"cd"), b"cd"), ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a", (2,): "b"}, [[1, "a"], [[2], "b"]]), ({1, 2}, {1, 2}), (frozenset([3]), {3}),
        (NIGHT.replace(tzinfo=UTC), naive_ms), (np.float64(1.5), 1.5), (np.int8(-3), -3),
        (np.bool_(True), True), (np.array(2.5), 2.5), (np.array([1, 2], np.uint8), b"\x01\x02"),
        ({"k": {"n": None}}, {"k": {"n": None}}),
    ]  # fmt: skip
    back = ray.get(ts("echo").remote([given for given, _ in rows]))
    for (given, wanted), got in zip(rows, back, strict=True):
        if isinstance(wanted, list) and isinstance(given, dict):
            got = [[k if not isinstance(k, tuple) else list(k), v] for k, v in
                   (got.items() if isinstance(got, dict) else got)]  # fmt: skip
        assert got == wanted, given
        assert type(got) is type(wanted), given
    minus, nan = ray.get(ts("echo").remote([-0.0, math.nan]))
    assert math.copysign(1, minus) == -1.0
    assert math.isnan(nan)


def test_arrays_of_all_types_and_shapes_come_back(ts: Callable[[str], Any]) -> None:
    base = np.arange(24).reshape(4, 6)
    arrays = [
        *(base.astype(f"{kind}{size}") for kind in "iu" for size in (2, 4, 8)),
        base.astype("i1"),
        *(base.astype(f"f{size}") for size in (2, 4, 8)),
        base % 2 == 0, base.astype("c8"), base[::2, ::3], np.asfortranarray(base), base.T,
        base.reshape(2, 3, 4), np.zeros((0, 3)), np.array(["2026-01-02"], "datetime64[D]"),
        np.array([5], "timedelta64[s]"), base.astype(">i4"), np.array(["a", "bc"]),
        np.array([("x", 1)], dtype=[("n", "U3"), ("v", "i4")]), np.array([1, "a", None], object),
        np.ma.masked_array([1, 2], [0, 1]), np.full((2, 2), np.nan, "f4"),
    ]  # fmt: skip
    for array, got in zip(arrays, ray.get(ts("echo").remote(arrays)), strict=True):
        assert type(got) is type(array), array.dtype
        assert got.dtype == array.dtype, array.dtype
        assert got.shape == array.shape, array.dtype
        np.testing.assert_array_equal(got, array)


def test_tables_and_frames_come_back(ts: Callable[[str], Any]) -> None:
    table = pa.table({"a": [1, 2, None], "s": ["x", None, "é"], "l": [[1], [], None]})
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=["i", "j"])
    given = [table, table.to_batches()[0], pa.array([1, None]), pa.chunked_array([[1], [2]]),
             pa.schema([("a", pa.int32())]), pa.scalar(3)]  # fmt: skip
    for value, got in zip(given, ray.get(ts("echo").remote(given)), strict=True):
        assert got.equals(value), type(value)
    got = ray.get(ts("echo").remote([frame, frame["a"], frame.index]))
    pd.testing.assert_frame_equal(got[0], frame)
    pd.testing.assert_series_equal(got[1], frame["a"])
    assert list(got[2]) == ["i", "j"]
    assert ray.get(ts("kind").remote(table)) in ("Table", "ArrowValue")


class Relation:
    """As a relation of a database: Arrow data by the PyCapsule protocol, not to be pickled."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> Any:
        raise TypeError("a relation belongs to its connection")


class Frame(Relation):
    """One that can be pickled keeps its class."""

    def __reduce__(self) -> Any:
        return Frame, (self._table,)


def test_arrow_streams_of_other_libraries_go_in(ts: Callable[[str], Any]) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    assert ray.get(ray.put(Relation(table))).equals(table)
    assert ray.get(ray.put([Relation(table), 1]))[0].equals(table)
    assert ray.get(ts("kind").remote(Relation(table))) in ("Table", "ArrowValue")
    assert type(ray.get(ray.put(Frame(table)))) is Frame


def test_javascript_sees_each_kind_as_the_table_says(ts: Callable[[str], Any]) -> None:
    rows = {
        "null": None, "boolean": True, "number": 1, "bigint": 2**60, "string": "s",
        "Uint8Array": b"x", "Array": (1,), "Object": {"a": 1}, "Map": {1: 2}, "Set": {1},
        "Date": dt.datetime(2026, 1, 1, tzinfo=UTC), "Float64Array": np.zeros(3),
        "NdArray": np.zeros((2, 2)), "Complex": 1j, "PyObject": Fraction(1, 2),
    }  # fmt: skip
    assert dict(zip(rows, ray.get(ts("kinds").remote(*rows.values())), strict=True)) == {
        name: name for name in rows
    }


def test_what_javascript_makes_arrives_as_the_table_says(ts: Callable[[str], Any]) -> None:
    made = ray.get(ts("make").remote())
    assert made["nothing"] is None
    assert made["missing"] is None
    assert (made["flag"], made["whole"], made["half"]) == (True, 7, 0.5)
    assert math.copysign(1, made["minusZero"]) == -1.0
    assert math.isnan(made["nan"])
    assert (made["big"], made["small"], made["long"]) == (2**70, 5, 2**60)
    assert (made["text"], made["lone"]) == ("grüße 😀", "a\ud800b")
    assert (made["bytes"], made["list"], made["record"]) == (b"\1\2", [1, [2]], {"a": {"b": 1}})
    assert (made["map"], made["set"]) == ({1: "one", "k": [2]}, {1, "a"})
    assert made["when"] == dt.datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    assert made["floats"].dtype == np.float32
    assert made["longs"].tolist() == [-1, 2]
    assert made["clamped"].tolist() == [255]
    assert "too far" in str(made["error"])
    assert isinstance(made["error"], Exception)
    assert (made["pattern"].source, made["pattern"].flags) == ("a+", "gi")


def test_cyclic_and_deep_values_pass_through(ts: Callable[[str], Any]) -> None:
    cyclic: list[Any] = [1]
    cyclic.append({"self": cyclic})
    back = ray.get(ts("echo").remote(cyclic))
    assert back[1]["self"] is back
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    back = ray.get(ts("echo").remote(deep))
    for _ in range(300):
        (back,) = back
    assert back == "end"


def test_exceptions_are_values_too(ts: Callable[[str], Any]) -> None:
    back = ray.get(ts("echo").remote([ValueError("v"), KeyError("k"), OwnError(1, "w")]))
    assert [type(e) for e in back] == [ValueError, KeyError, OwnError]
    assert back[2].number == 1


def test_refs_and_keywords_cross(ts: Callable[[str], Any]) -> None:
    refs = [ray.put(i) for i in range(4)]
    assert ray.get(ts("inside").remote({"refs": refs})) == 6
    same = ray.get(ts("echo").remote({"r": [refs[0]]}))["r"][0]
    assert same == refs[0]
    assert ray.get(same) == 0
    assert ray.get(ts("total").remote([1, 2], {"factor": 10})) == 30
    with pytest.raises(ValueError, match="takes no keyword arguments"):
        ray.get(ts("total").remote([1, 2], factor=10))
    big = ray.put(np.ones(200_000))
    assert ray.get(ts("kind").remote(big)) == "Float64Array"

    @ray.remote
    def through(value: Any) -> Any:
        return ray.get(ts_echo.remote(value))

    ts_echo = ts("echo")
    assert ray.get(through.remote({"a": (1,)})) == {"a": [1]}


@ray.remote
class Adder:
    def __init__(self) -> None:
        self.n = 0

    def add(self, by: int) -> int:
        self.n += by
        return self.n

    def numbers(self, n: int) -> Iterator[int]:
        yield from range(n)


def test_handles_cross_both_ways(maker: Any, ts: Callable[[str], Any]) -> None:
    adder = Adder.remote()
    assert ray.get(maker.useActor.remote(adder, 5)) == 5
    assert ray.get(adder.add.remote(1)) == 6
    assert ray.get(maker.useBox.remote({"actor": adder})) == [0, 1, 2]
    assert ray.get(ts("echo").remote([adder]))[0] == adder

    @ray.remote
    def use(actor: Any) -> list[int]:
        return [ray.get(ref) for ref in actor.up.options(num_returns="streaming").remote(2)]

    assert ray.get(use.remote(maker)) == [10, 11]


def test_generators_of_typescript_are_streams(maker: Any, ts: Callable[[str], Any]) -> None:
    streaming = {"num_returns": "streaming"}
    count = ts("count").options(**streaming).remote(4)
    assert [ray.get(ref) for ref in count] == [0, 1, 4, 9]
    assert [ray.get(r)["i"] for r in ts("later").options(**streaming).remote(2)] == [0, 1]
    assert [ray.get(ref) for ref in maker.up.options(**streaming).remote(3)] == [10, 11, 12]
    assert [ray.get(ref) for ref in maker.slowly.options(**streaming).remote(2)] == [0, 1]
    broken = maker.breaks.options(**streaming).remote()
    assert ray.get(next(broken)) == 1
    with pytest.raises(RayTaskError, match="in the middle"):
        ray.get(next(broken))
